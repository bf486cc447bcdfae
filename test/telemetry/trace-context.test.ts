import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomHex } from '../../src/telemetry/trace-context.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, parseResponses } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;
let gateway: RunningGateway;
let trusting: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  [gateway, trusting] = [await stack.gateway(), await stack.gateway({ TRACE_TRUST_SAMPLED: 'true' })];
  key = await stack.key();
});
afterAll(() => stack.stop());

/** What the gateway makes of these trace headers: in its answer, and towards the campaign service. */
async function send(at: RunningGateway, ...lines: string[]) {
  const head = ['Host: a', 'Connection: close', `X-API-Key: ${key}`, ...lines].join('\r\n');
  const [answered] = parseResponses(await exchangeBytes(at.url, `GET ${campaignPath} HTTP/1.1\r\n${head}\r\n\r\n`));
  const forwarded = stack.upstream.requests.at(-1)?.headers;
  const [version, traceId, spanId, flags] = String(forwarded?.['traceparent']).split('-');
  expect(answered?.status).toBe(200);
  expect(JSON.parse(answered?.body ?? '').traceId).toBe(traceId);
  expect(answered?.headers['x-trace-id']).toBe(traceId);
  expect(version).toBe('00');
  return { traceId, spanId, flags, tracestate: forwarded?.['tracestate'] };
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

test.each([
  ['as it is', `00-${TRACE}-${SPAN}-00`],
  ['sampled', `00-${TRACE}-${SPAN}-01`],
  ['with flags that are not known yet', `00-${TRACE}-${SPAN}-fc`],
  ['of a version that is not known yet', `cc-${TRACE}-${SPAN}-00`],
  ['of such a version, with more after it', `01-${TRACE}-${SPAN}-00-what-the-future-brings`],
])('a traceparent %s is continued: its trace id, a span id of our own', async (_what, traceparent) => {
  const { traceId, spanId } = await send(gateway, `traceparent: ${traceparent}`);
  expect(traceId).toBe(TRACE);
  expect(spanId).toMatch(/^[0-9a-f]{16}$/);
  expect(spanId).not.toBe(SPAN);
});

test.each([
  ['empty', ''],
  ['of version ff', `ff-${TRACE}-${SPAN}-01`],
  ['of version 00 with more after it', `00-${TRACE}-${SPAN}-01-x`],
  ['of a later version with more after it and no dash', `01-${TRACE}-${SPAN}-01x`],
  ['with a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['with a span id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['in upper case', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ['too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
  ['too long', `00-${TRACE}0-${SPAN}-01`],
  ['with letters beyond f', `00-${TRACE.replace('b', 'g')}-${SPAN}-01`],
  ['without flags', `00-${TRACE}-${SPAN}`],
  ['with one digit of flags', `00-${TRACE}-${SPAN}-1`],
  ['twice, joined', `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
  ['nonsense', "'; DROP TABLE traces; --"],
])(
  'a traceparent that is %s starts a new, random trace, and its tracestate goes with it',
  async (_what, traceparent) => {
    const { traceId, flags, tracestate } = await send(gateway, `traceparent: ${traceparent}`, 'tracestate: a=1');
    expect(traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(traceId).not.toBe(TRACE);
    expect(flags).toBe('02');
    expect(tracestate).toBeUndefined();
  },
);

test('two traceparent headers are none', async () => {
  const line = `traceparent: 00-${TRACE}-${SPAN}-01`;
  expect((await send(gateway, line, line)).traceId).not.toBe(TRACE);
});

test('the caller decides on sampling only where it is trusted; the random flag is kept; unknown flags are not', async () => {
  const flagsOf = async (at: RunningGateway, flags: string) =>
    (await send(at, `traceparent: 00-${TRACE}-${SPAN}-${flags}`)).flags;
  expect([await flagsOf(gateway, '01'), await flagsOf(gateway, '03'), await flagsOf(gateway, 'ff')]).toEqual([
    '00',
    '02',
    '02',
  ]);
  expect([await flagsOf(trusting, '01'), await flagsOf(trusting, '03'), await flagsOf(trusting, 'fd')]).toEqual([
    '01',
    '03',
    '01',
  ]);
});

const members = (count: number) => Array.from({ length: count }, (_, i) => `k${i}=v`);

test.each([
  ['one member', ['a=1'], 'a=1'],
  ['several, with spaces and empty members', ['a=1 , ,b=2,,\tc=3'], 'a=1,b=2,c=3'],
  ['several headers, in their order', ['a=1', 'b=2,c=3'], 'a=1,b=2,c=3'],
  ['keys with all their letters', ['0a_-*/@z=1,tenant@system=2'], '0a_-*/@z=1,tenant@system=2'],
  ['values with all their letters', ['a=!"#$%&()*+-./:;<>?@[]^_`{|}~ x'], 'a=!"#$%&()*+-./:;<>?@[]^_`{|}~ x'],
  ['the longest key and value', [`${'k'.repeat(256)}=${'v'.repeat(256)}`], `${'k'.repeat(256)}=${'v'.repeat(256)}`],
  ['32 members', [members(32).join(',')], members(32).join(',')],
])('tracestate: %s', async (_what, headers, forwarded) => {
  const lines = headers.map((value) => `tracestate: ${value}`);
  expect((await send(gateway, `traceparent: 00-${TRACE}-${SPAN}-01`, ...lines)).tracestate).toBe(forwarded);
});

test.each([
  ['nothing but commas', ', ,'],
  ['a member without a value', 'a'],
  ['an empty value', 'a='],
  ['an equals sign in a value', 'a=1=2'],
  ['an upper-case key', 'A=1'],
  ['a key that begins badly', '_a=1'],
  ['a space in a key', 'a b=1'],
  ['a key twice', 'a=1,b=2,a=3'],
  ['a key that is too long', `${'k'.repeat(257)}=1`],
  ['a value that is too long', `a=${'v'.repeat(257)}`],
  ['one bad member among good ones', 'a=1,b,c=3'],
  ['33 members', members(33).join(',')],
])('a tracestate with %s is dropped whole, and the trace goes on', async (_what, tracestate) => {
  const sent = await send(gateway, `traceparent: 00-${TRACE}-${SPAN}-01`, `tracestate: ${tracestate}`);
  expect([sent.traceId, sent.tracestate]).toEqual([TRACE, undefined]);
});

test('random ids do not repeat and are never all zeros', () => {
  const ids = Array.from({ length: 20_000 }, () => randomHex(8));
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^(?!0+$)[0-9a-f]{16}$/);
});
