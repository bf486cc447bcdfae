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
let isEnabled = false;

/** Enables server spans, and with them all others. Called by the SDK setup. */
export function enableTracing(): void {
  isEnabled = true;
}

/**
 * Starts the server span of a request; undefined if it is not sampled. With the SDK, the ids and the sampled flag of the
 * returned trace context are those of the span. Without it, the trace context stays unchanged.
 */
export function startServerSpan(incoming: TraceContext): {
  readonly trace: TraceContext;
  readonly span: Span | undefined;
} {
  if (!isEnabled) return { trace: incoming, span: undefined };
  const { parentSpanId, flags, tracestate } = incoming;
  const parent = parentSpanId && {
    traceId: incoming.traceId,
    spanId: parentSpanId,
    traceFlags: flags,
    isRemote: true,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  };
  const parentContext = parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
  const span = tracer.startSpan('HTTP', { kind: SpanKind.SERVER }, parentContext);
  const { traceId, spanId, traceFlags } = span.spanContext();
  const sampledFlag = traceFlags & TraceFlags.SAMPLED;
  return {
    trace: { ...incoming, traceId, spanId, flags: (flags & ~TraceFlags.SAMPLED) | sampledFlag },
    span: span.isRecording() ? span : undefined,
  };
}

/** Runs `run` with `span` active, or without an active span; never in the caller's context. */
export function withSpan<T>(span: Span | undefined, run: () => T): T {
  return context.with(span ? trace.setSpan(ROOT_CONTEXT, span) : ROOT_CONTEXT, run);
}

/** Starts a child of the active span; undefined if no span is active. */
export function startSpan(name: string, kind: SpanKind): Span | undefined {
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
  const active = trace.getSpanContext(context.active());
  return active && `${active.traceId}-${active.spanId}`;
}

/** Parses the text of `serializeActiveSpan`; undefined if it is invalid. */
export function parseSpanContext(text: string): SpanContext | undefined {
  const [traceId = '', spanId = ''] = text.split('-');
  const span = { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
  return isSpanContextValid(span) ? span : undefined;
}
