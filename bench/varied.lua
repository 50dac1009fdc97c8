-- Requests of wrk whose heads differ: another page and another session each time. They are made before
-- the load begins, so that making them costs it nothing.
local requests = {}
local next = 0

function init()
  for index = 1, 4096 do
    wrk.headers["Cookie"] = string.format("session=%010d", index * 7919)
    requests[index] = wrk.format("GET", string.format("/api/items?page=%04d", index))
  end
end

function request()
  next = next % #requests + 1
  return requests[next]
end
