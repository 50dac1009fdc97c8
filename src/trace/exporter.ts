/**
 * Spans on their way to an OTLP collector, through OpenTelemetry's SDK. The only file that loads it,
 * and imported by the trace thread alone. A record has the ids that its request was served under, so
 * that the SDK is told ids and times instead of making them.
 */
import {
  context,
  createTraceState,
  diag,
  DiagLogLevel,
  ROOT_CONTEXT,
  SamplingDecision,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Context,
  type HrTime,
  type Span,
} from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";
import type { RequestRecord } from "./span-record.ts";
import { attemptSpan, requestSpan, type SpanDraft } from "./spans.ts";

export interface SpanExporter {
  /** Sends the spans of these requests; rejects with the reason where the collector did not take them. */
  export(records: readonly RequestRecord[]): Promise<void>;
  close(): Promise<void>;
}

/** Ids that the SDK asks for while a span is started. */
class GivenIds {
  traceId = "";
  spanId = "";

  generateTraceId(): string {
    return this.traceId;
  }

  generateSpanId(): string {
    return this.spanId;
  }
}

/** Longer than the SDK takes for its tries, so that it is the SDK that says why it gave up. */
const EXPORT_MS_MAX = 60_000;

/**
 * Starts the SDK, which reads its environment variables (`sdkEnvironment`). One at a time in a
 * thread, for the SDK is global to it. `onWarning` hears what the SDK has to complain of.
 */
export function createSpanExporter(options: {
  readonly version: string;
  readonly onWarning: (message: string) => void;
}): SpanExporter {
  const warn = (message: string): void => options.onWarning(message);
  const silent = (): void => {};
  diag.setLogger(
    { error: warn, warn, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const ids = new GivenIds();
  const sdk = new NodeSDK({
    idGenerator: ids,
    // What comes here was sampled by the worker.
    sampler: {
      shouldSample: () => ({ decision: SamplingDecision.RECORD_AND_SAMPLED }),
      toString: () => "SampledByWorker",
    },
    textMapPropagator: null,
    instrumentations: [],
  });
  sdk.start();
  const tracer = trace.getTracer("sluice", options.version);
  const start = (draft: SpanDraft, parent: Context): Span => {
    ids.spanId = draft.spanId;
    const span = tracer.startSpan(
      draft.name,
      {
        kind: draft.kind === "server" ? SpanKind.SERVER : SpanKind.CLIENT,
        startTime: hrTime(draft.startMs),
        attributes: draft.attributes,
      },
      parent,
    );
    for (const { name, timeMs } of draft.events) span.addEvent(name, hrTime(timeMs));
    if (draft.failure !== "")
      span.setStatus({ code: SpanStatusCode.ERROR, message: draft.failure });
    return span;
  };
  const add = (record: RequestRecord): void => {
    ids.traceId = record.traceId;
    const span = start(requestSpan(record), callerOf(record));
    const within = trace.setSpan(ROOT_CONTEXT, span);
    for (let index = 0; index < record.attempts.length; index++) {
      const draft = attemptSpan(record, index);
      start(draft, within).end(hrTime(draft.endMs));
    }
    span.end(hrTime(record.endMs));
  };
  return {
    async export(records) {
      for (const record of records) add(record);
      await flushed();
    },
    async close() {
      await sdk.shutdown();
      trace.disable();
      context.disable();
      diag.disable();
    },
  };
}

/** The caller's span as the parent, or nothing: then the trace id is asked for. */
function callerOf({ traceId, parentId, traceState }: RequestRecord): Context {
  if (parentId === "") return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId: parentId,
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
    ...(traceState === "" ? {} : { traceState: createTraceState(traceState) }),
  });
}

/** Rejects where the collector did not take what was added since the last time. */
async function flushed(): Promise<void> {
  const provider: object = trace.getTracerProvider();
  const delegate: object =
    "getDelegate" in provider && typeof provider.getDelegate === "function"
      ? (provider.getDelegate() as object)
      : provider;
  if (!("forceFlush" in delegate) || typeof delegate.forceFlush !== "function") return;
  try {
    await delegate.forceFlush({ timeoutMillis: EXPORT_MS_MAX });
  } catch (error) {
    // It rejects with a list, for there may be several exporters.
    throw Array.isArray(error) ? error[0] : error;
  }
}

/** Seconds and nanoseconds, which the SDK cannot take for a time since the start of the thread. */
function hrTime(epochMs: number): HrTime {
  const seconds = Math.floor(epochMs / 1000);
  const nanos = Math.round((epochMs - seconds * 1000) * 1_000_000);
  return nanos === 1_000_000_000 ? [seconds + 1, 0] : [seconds, nanos];
}
