import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

let gateway: EmbeddedGateway;
let valid: string;

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', AUTH_FAILURE_LIMIT: '100000/1s' });
  const key = gateway.credentials['x-api-key'];
  valid = `GET ${campaignPath} HTTP/1.1\r\nHost: a.example:80\r\nX-API-Key: ${key}\r\nAccept: */*\r\n\r\n`;
});
afterAll(() => gateway.stop());

/** The most responses that these bytes may get: one per protocol version in them, and one for a malformed rest. */
const maxResponses = (bytes: string) => (bytes === '' ? 0 : bytes.split(/(?:HTTP|RTSP|ICE)\/\d/).length);

/** Sends the packets, half-closes, and checks that all responses are valid and that the gateway still serves requests. */
async function survives(packets: readonly string[]): Promise<void> {
  const before = gateway.upstream.requests.length;
  const client = await RawClient.connect(gateway.gateway.url);
  await client.send(...packets.filter((packet) => packet !== ''));
  client.socket.end();
  const outcomes = (await client.untilClosed()).filter(hasBody).map(classifyResponse);
  expect(outcomes).not.toContain('INTERNAL_ERROR');
  expect(outcomes).not.toContain('UPSTREAM_ERROR');
  expect(outcomes.length).toBeLessThanOrEqual(maxResponses(packets.join('')));
  expect(gateway.upstream.requests.length - before).toBe(outcomes.filter((outcome) => outcome === 'OK').length);
  expect((await gateway.read()).status).toBe(200);
}

const hasBody = ({ status }: { status: number }) => status !== 304;

/** Splits the text at these fractions of its length. */
function splitAt(text: string, fractions: readonly number[]): string[] {
  const ends = [...fractions.map((fraction) => Math.floor(fraction * text.length)).sort((a, b) => a - b), text.length];
  return ends.map((end, i) => text.slice(i === 0 ? 0 : ends[i - 1], end));
}

const fraction = fc.double({ min: 0, max: 1, noNaN: true });
const fractions = fc.array(fraction, { maxLength: 8 });
/** Text with a meaning in HTTP, and random bytes. */
const nasty = fc.oneof(
  fc.constantFrom(
    ...['\r', '\n', '\r\n', '\r\n\r\n', '\0', ' ', '\t', ':', ',', ';', '\x0b', '\x7f', '\xa0', '\xff', '%', '/'],
  ),
  fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'GET', 'POST', 'CONNECT', 'PRI * HTTP/2.0', 'chunked', '0\r\n\r\n'),
  fc.constantFrom('Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', 'Host: b\r\n'),
  fc.constantFrom(
    'Expect: 100-continue\r\n',
    'Upgrade: h2c\r\nConnection: upgrade\r\n',
    'traceparent: 00-',
    'If-None-Match: *\r\n',
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 12 }),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
);
const mutation = fc.record({ at: fraction, removed: fc.nat(6), added: fc.oneof(fc.constant(''), nasty) });

function mutate(text: string, mutations: readonly { at: number; removed: number; added: string }[]): string {
  return mutations.reduce((rest, { at, removed, added }) => {
    const start = Math.floor(at * rest.length);
    return rest.slice(0, start) + added + rest.slice(start + removed);
  }, text);
}

const RUNS = { numRuns: 50 };

test('the gateway survives pipelined requests with random changes, in random packets', async () => {
  const changes = fc.array(mutation, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 5 }), changes, fractions, (count, mutations, splits) =>
      survives(splitAt(mutate(valid.repeat(count), mutations), splits)),
    ),
    RUNS,
  );
});

test('the gateway survives a request with random headers', async () => {
  const name = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'abcXYZ019!#$%&*+-.^_|~'), minLength: 1, maxLength: 20 }),
    fc.constantFrom('Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Expect', 'Upgrade', 'TE', 'Trailer'),
    fc.constantFrom('X-API-Key', 'Authorization', 'traceparent', 'tracestate', 'X-Forwarded-For', 'Forwarded'),
    fc.constantFrom('If-None-Match', 'Range', 'Keep-Alive', '__proto__', 'constructor'),
    nasty,
  );
  const value = fc.oneof(fc.string({ maxLength: 40 }), nasty, fc.string({ minLength: 2000, maxLength: 6000 }));
  const headers = fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(headers, fractions, (added, splits) => {
      const lines = added.map(([key, text]) => `${key}: ${text}\r\n`).join('');
      return survives(splitAt(`${valid.slice(0, -2)}${lines}\r\n`, splits));
    }),
    RUNS,
  );
});

test('the gateway survives random bytes', async () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array).toString('latin1')),
    fc.array(nasty, { maxLength: 40 }).map((parts) => parts.join('')),
  );
  await fc.assert(
    fc.asyncProperty(bytes, fractions, (text, splits) => survives(splitAt(text, splits))),
    RUNS,
  );
});

test('valid requests are served in whatever packets they arrive', async () => {
  const manyFractions = fc.array(fraction, { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(manyFractions, fc.integer({ min: 1, max: 4 }), async (splits, count) => {
      const client = await RawClient.connect(gateway.gateway.url);
      await client.send(...splitAt(valid.repeat(count), splits).filter((packet) => packet !== ''));
      client.socket.end();
      expect((await client.untilClosed()).map(classifyResponse)).toEqual(Array.from({ length: count }, () => 'OK'));
    }),
    { numRuns: 30 },
  );
});
