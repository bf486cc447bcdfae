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

/**
 * Spans, by OpenTelemetry's API. A request whose trace nobody records costs the decision and no more: there is no span
 * for it, and every function here does nothing.
 */
const tracer = trace.getTracer('campaign-gateway');

/** The ids of the next span, chosen here: a request has them whether its trace is recorded or not. */
const presetIds: { traceId: string | undefined; spanId: string | undefined } = {
  traceId: undefined,
  spanId: undefined,
};
let isEnabled = false;

/** From here on spans are made. Called by the SDK's set-up, which takes the ids of a request's span from `chosenIds`. */
export function enableTracing(): void {
  isEnabled = true;
}

/** Gives each id once; undefined where a span may have any. */
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

/** The span of a request, under its own id; undefined where it is not recorded. */
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
  presetIds.traceId = undefined; // Not asked for where there is a parent.
  return span.isRecording() ? span : undefined;
}

/** The trace as it goes on: sampled where its spans are recorded. Without the SDK it is as it came. */
export function withSamplingFlag(traceContext: TraceContext, span: Span | undefined): TraceContext {
  if (!isEnabled) return traceContext;
  return { ...traceContext, flags: (traceContext.flags & ~TraceFlags.SAMPLED) | (span ? TraceFlags.SAMPLED : 0) };
}

/** Runs `run`, and all that it leads to, under a span, or under none: never under that of the one who happens to call. */
export function withSpan<T>(span: Span | undefined, run: () => T): T {
  if (!isEnabled) return run();
  return context.with(span ? trace.setSpan(ROOT_CONTEXT, span) : ROOT_CONTEXT, run);
}

/** The same for a part of what a span stands for: without one of its own it goes on under the one under way. */
export function withChildSpan<T>(span: Span | undefined, run: () => T): T {
  return span ? context.with(trace.setSpan(ROOT_CONTEXT, span), run) : run();
}

/** Runs `run`, and what it leads to, under no span: for what serves all requests though one of them began it. */
export function withoutSpan<T>(run: () => T): T {
  return context.with(ROOT_CONTEXT, run);
}

/** A span under the one in whose course this is called; undefined where there is none. */
export function startSpan(name: string, kind: SpanKind): Span | undefined {
  if (!isEnabled) return undefined;
  const active = context.active();
  return trace.getSpan(active) ? tracer.startSpan(name, { kind }, active) : undefined;
}

/** Ends a span; `errorType` is one word, and makes it an error. */
export function endSpan(span: Span | undefined, attributes: Attributes = {}, errorType?: string): void {
  if (!span) return;
  span.setAttributes(attributes);
  if (errorType !== undefined) {
    span.setAttribute('error.type', errorType);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}

/** Says that the request under way got what the span of another one had asked for. */
export function linkActiveSpan(other: SpanContext | undefined): void {
  if (other) trace.getSpan(context.active())?.addLink({ context: other });
}

/** The span under way as text, for another process; undefined where there is none. */
export function serializeActiveSpan(): string | undefined {
  const active = isEnabled ? trace.getSpanContext(context.active()) : undefined;
  return active && `${active.traceId}-${active.spanId}`;
}

/** What `formatActiveSpan` gave there. */
export function parseSpanContext(text: string): SpanContext | undefined {
  const [traceId = '', spanId = ''] = text.split('-');
  const span = { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
  return isSpanContextValid(span) ? span : undefined;
}
