import {
  type Attributes,
  context,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import type { TraceContext } from './trace-context.ts';

/** Spans, through OpenTelemetry's API. A request that is not sampled has no span: every function here then does nothing. */
const tracer = trace.getTracer('campaign-gateway');

/** The ids of the next server span. A request has its ids before the sampler decides, for its envelope and log line. */
const presetIds: { traceId: string | undefined; spanId: string | undefined } = {
  traceId: undefined,
  spanId: undefined,
};
let isEnabled = false;

/** Enables spans. Called by the SDK setup, whose id generator takes the ids of a server span from `nextIds`. */
export function enableTracing(): void {
  isEnabled = true;
}

/** Returns each preset id once; undefined means that the generator may choose any id. */
export const nextIds = {
  takeTraceId: (): string | undefined => {
    const { traceId } = presetIds;
    presetIds.traceId = undefined;
    return traceId;
  },
  takeSpanId: (): string | undefined => {
    const { spanId } = presetIds;
    presetIds.spanId = undefined;
    return spanId;
  },
};

/** Starts the server span of a request with the ids of its trace context; undefined if it is not sampled. */
export function startServerSpan({ traceId, spanId, parentSpanId, flags, tracestate }: TraceContext): Span | undefined {
  if (!isEnabled) return undefined;
  presetIds.spanId = spanId;
  presetIds.traceId = traceId;
  const parent = parentSpanId && {
    traceId,
    spanId: parentSpanId,
    traceFlags: flags,
    isRemote: true,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  };
  const parentContext = parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
  const span = tracer.startSpan('HTTP', { kind: SpanKind.SERVER }, parentContext);
  presetIds.traceId = undefined; // The generator does not take it when there is a parent.
  return span.isRecording() ? span : undefined;
}

/** The trace context to propagate: its sampled flag is this process' decision. Without the SDK it stays unchanged. */
export function withSamplingFlag(traceContext: TraceContext, span: Span | undefined): TraceContext {
  if (!isEnabled) return traceContext;
  return { ...traceContext, flags: (traceContext.flags & ~TraceFlags.SAMPLED) | (span ? TraceFlags.SAMPLED : 0) };
}

/** Runs `run` with `span` active, or in the root context; never in the caller's context. */
export function withSpan<T>(span: Span | undefined, run: () => T): T {
  if (!isEnabled) return run();
  return context.with(span ? trace.setSpan(ROOT_CONTEXT, span) : ROOT_CONTEXT, run);
}

/** Runs `run` with `span` active; without a span the active one stays active. */
export function withChildSpan<T>(span: Span | undefined, run: () => T): T {
  return span ? context.with(trace.setSpan(ROOT_CONTEXT, span), run) : run();
}

/** Runs `run` without an active span: for work that one request starts on behalf of all. */
export function withoutSpan<T>(run: () => T): T {
  return context.with(ROOT_CONTEXT, run);
}

/** Starts a child of the active span; undefined if no span is active. */
export function startSpan(name: string, kind: SpanKind): Span | undefined {
  if (!isEnabled) return undefined;
  const active = context.active();
  return trace.getSpan(active) ? tracer.startSpan(name, { kind }, active) : undefined;
}

/** Ends a span. `errorType`, one word, sets its status to error. */
export function endSpan(span: Span | undefined, attributes: Attributes = {}, errorType?: string): void {
  if (!span) return;
  span.setAttributes(attributes);
  if (errorType !== undefined) {
    span.setAttribute('error.type', errorType);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}

/** Links the active span to the span whose result it received. */
export function linkActiveSpan(other: SpanContext | undefined): void {
  if (other) trace.getSpan(context.active())?.addLink({ context: other });
}

/** Serializes the active span for another process; undefined if no span is active. */
export function serializeActiveSpan(): string | undefined {
  const active = isEnabled ? trace.getSpanContext(context.active()) : undefined;
  return active && `${active.traceId}-${active.spanId}`;
}

/** Parses the text of `serializeActiveSpan`; undefined if it is invalid. */
export function parseSpanContext(text: string): SpanContext | undefined {
  const [traceId = '', spanId = ''] = text.split('-');
  const span = { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
  return isSpanContextValid(span) ? span : undefined;
}
