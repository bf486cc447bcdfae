import { beforeAll, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';

const stack = useStack();
let gateway: RunningGateway;
let trusting: RunningGateway;
let key: string;

beforeAll(async () => {
  [gateway, trusting] = [await stack.gateway(), await stack.gateway({ TRACE_TRUST_SAMPLED: 'true' })];
  key = await stack.key();
});

/** Sends trace headers. Returns the trace context of the response and of the upstream request, which must agree. */
async function send(at: RunningGateway, ...lines: string[]) {
  const head = ['Host: a', 'Connection: close', `X-API-Key: ${key}`, ...lines].join('\r\n');
  const [response] = await exchangeBytes(at.url, `GET ${campaignPath} HTTP/1.1\r\n${head}\r\n\r\n`);
  const forwarded = stack.upstream.requests.at(-1)?.headers;
  const [version, traceId, spanId, flags] = String(forwarded?.['traceparent']).split('-');
  expect(response).toMatchObject({ status: 200, headers: { 'x-trace-id': traceId } });
  expect(JSON.parse(response?.body ?? '').traceId).toBe(traceId);
  expect(version).toBe('00');
  return { traceId, spanId, flags, tracestate: forwarded?.['tracestate'] };
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

test.each([
  ['that is sampled', `00-${TRACE}-${SPAN}-01`],
  ['of an unknown version', `cc-${TRACE}-${SPAN}-00`],
  ['of an unknown version with more fields', `01-${TRACE}-${SPAN}-00-what-the-future-brings`],
])('a traceparent %s is continued with its trace id and a new span id', async (_what, traceparent) => {
  const { traceId, spanId } = await send(gateway, `traceparent: ${traceparent}`);
  expect(traceId).toBe(TRACE);
  expect(spanId).toMatch(/^[0-9a-f]{16}$/);
  expect(spanId).not.toBe(SPAN);
});

test.each([
  ['of version ff', `ff-${TRACE}-${SPAN}-01`],
  ['of version 00 with more fields', `00-${TRACE}-${SPAN}-01-x`],
  ['of a later version with a suffix but no dash', `01-${TRACE}-${SPAN}-01x`],
  ['with a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['with a span id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['in upper case', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ['too long', `00-${TRACE}0-${SPAN}-01`],
  ['without flags', `00-${TRACE}-${SPAN}`],
  ['repeated', `00-${TRACE}-${SPAN}-01\r\ntraceparent: 00-${TRACE}-${SPAN}-01`],
])('a traceparent that is %s is ignored with its tracestate, and a random trace starts', async (_what, traceparent) => {
  const { traceId, flags, tracestate } = await send(gateway, `traceparent: ${traceparent}`, 'tracestate: a=1');
  expect(traceId).toMatch(/^[0-9a-f]{32}$/);
  expect(traceId).not.toBe(TRACE);
  expect([flags, tracestate]).toEqual(['02', undefined]);
});

test('only a trusted caller sets the sampled flag; the random flag is forwarded, unknown flags are dropped', async () => {
  const forwardedFlags = async (at: RunningGateway, flags: string) =>
    (await send(at, `traceparent: 00-${TRACE}-${SPAN}-${flags}`)).flags;
  for (const [sent, untrusted, trusted] of [
    ['01', '00', '01'],
    ['03', '02', '03'],
    ['fd', '00', '01'],
    ['fe', '02', '02'],
  ] as const) {
    expect([await forwardedFlags(gateway, sent), await forwardedFlags(trusting, sent)]).toEqual([untrusted, trusted]);
  }
});

const members = (count: number) => Array.from({ length: count }, (_, i) => `k${i}=v`).join(',');
const longest = `${'k'.repeat(256)}=${'v'.repeat(256)}`;
const allowedCharacters = '0a_-*/@z=1,tenant@system=!"#$%&()*+-./:;<>?@[]^_`{|}~ x';

test.each([
  ['spaces and empty members', 'a=1 , ,b=2,,\tc=3', 'a=1,b=2,c=3'],
  ['several headers, in order', 'a=1\r\ntracestate: b=2,c=3', 'a=1,b=2,c=3'],
  ['all allowed characters', allowedCharacters, allowedCharacters],
  ['the longest key and value', longest, longest],
  ['a duplicate key', 'a=1,b=2,a=3', 'a=1,b=2,a=3'],
  ['32 members', members(32), members(32)],
  ['only commas', ', ,', undefined],
  ['an empty value', 'a=', undefined],
  ['an equals sign in a value', 'a=1=2', undefined],
  ['an upper-case key', 'A=1', undefined],
  ['a space in a key', 'a b=1', undefined],
  ['a key that is too long', `${'k'.repeat(257)}=1`, undefined],
  ['a value that is too long', `a=${'v'.repeat(257)}`, undefined],
  ['one invalid member among valid ones', 'a=1,b,c=3', undefined],
  ['33 members', members(33), undefined],
])(
  'a tracestate with %s is forwarded whole or dropped whole, and the trace continues',
  async (_what, sent, forwarded) => {
    const received = await send(gateway, `traceparent: 00-${TRACE}-${SPAN}-01`, `tracestate: ${sent}`);
    expect([received.traceId, received.tracestate]).toEqual([TRACE, forwarded]);
  },
);
