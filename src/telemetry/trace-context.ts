import { randomFillSync } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** W3C Trace Context (level 2) of a request. `spanId` is the gateway's span, `parentSpanId` the caller's, if it sent one. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly flags: number;
  readonly tracestate: string | undefined;
}

const SAMPLED = 0x01;
/** Level 2, section 3.2.2.5.1.2: the last seven bytes of the trace id are random. */
const RANDOM_TRACE_ID = 0x02;

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const ZERO_TRACE_ID = '0'.repeat(32);
const ZERO_SPAN_ID = '0'.repeat(16);

/**
 * Continues the caller's trace or starts a new one. An invalid `traceparent` is ignored together with its `tracestate`
 * (level 2, section 4.3). Repeated headers, which Node joins with a comma, are invalid.
 */
export function extractTraceContext(headers: IncomingHttpHeaders, trustSampled: boolean): TraceContext {
  const parent = parseTraceparent(headers.traceparent);
  const spanId = randomHex(8);
  if (!parent) {
    return { traceId: randomHex(16), spanId, parentSpanId: undefined, flags: RANDOM_TRACE_ID, tracestate: undefined };
  }
  return {
    traceId: parent.traceId,
    spanId,
    parentSpanId: parent.spanId,
    flags: parent.flags & (trustSampled ? SAMPLED | RANDOM_TRACE_ID : RANDOM_TRACE_ID),
    tracestate: parseTracestate(headers.tracestate),
  };
}

/** Only the trace id of `extractTraceContext`, for responses sent before a trace is opened. */
export function extractTraceId({ traceparent }: IncomingHttpHeaders): string {
  return parseTraceparent(traceparent)?.traceId ?? randomHex(16);
}

export function formatTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-0${trace.flags}`;
}

/** Replaces the span id of a `traceparent`. */
export function withSpanId(traceparent: string, spanId: string): string {
  return traceparent.replace(/-[0-9a-f]{16}-/, `-${spanId}-`);
}

function parseTraceparent(header: string | string[] | undefined) {
  if (typeof header !== 'string') return undefined;
  const [, version, traceId = '', spanId = '', flags = '', rest] = TRACEPARENT.exec(header) ?? [];
  if (!version || version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (traceId === ZERO_TRACE_ID || spanId === ZERO_SPAN_ID) return undefined;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) };
}

const MEMBER_KEY = /^[a-z0-9][a-z0-9_\-*/@]{0,255}$/;
const MEMBER_VALUE = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_MEMBERS = 32;

/** The list as one header. An invalid member, or a 33rd, discards the whole list (level 2, section 3.3.1). Duplicate keys pass. */
function parseTracestate(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string') return undefined;
  const members = header
    .split(',')
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''))
    .filter((member) => member !== '');
  if (members.length === 0 || members.length > MAX_MEMBERS) return undefined;
  for (const member of members) {
    const equals = member.indexOf('=');
    const key = member.slice(0, equals);
    if (equals < 1 || !MEMBER_KEY.test(key) || !MEMBER_VALUE.test(member.slice(equals + 1))) return undefined;
  }
  return members.join(',');
}

const pool = Buffer.alloc(4096);
let hexPool = '';
let offset = 0;

/** Random lower-case hex, never all zeros. perf: the pool saves 2 µs of a cached read over `randomUUID`. */
export function randomHex(bytes: 8 | 16): string {
  if (offset + 2 * bytes > hexPool.length) {
    hexPool = randomFillSync(pool).toString('hex');
    offset = 0;
  }
  const hex = hexPool.slice(offset, offset + 2 * bytes);
  offset += 2 * bytes;
  return /[^0]/.test(hex) ? hex : randomHex(bytes);
}
