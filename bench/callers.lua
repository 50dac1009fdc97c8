-- Requests with a caller's trace each, none of them sampled. No two in a row are alike, as with real
-- callers; there are a thousand, for making one costs more than sending it.
local requests = {}
local last = 0

function init()
  for index = 1, 1000 do
    wrk.headers["traceparent"] = string.format("00-0af7651916cd43dd8448eb21%08x-b7ad6b71%08x-00", index, index)
    requests[index] = wrk.format()
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
