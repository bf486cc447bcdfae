import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

let gateway: EmbeddedGateway;
let valid: string;

beforeAll(async () => {
  gateway = await startEmbeddedGateway({ CACHE_TTL_MS: '0', AUTH_FAILURE_LIMIT: '100000/1s' });
  const key = gateway.credentials['x-api-key'];
  valid = `GET ${campaignPath} HTTP/1.1\r\nHost: a.example:80\r\nX-API-Key: ${key}\r\nAccept: */*\r\n\r\n`;
});
afterAll(() => gateway.stop());

/** Sends the text split at these fractions of its length, half-closes, and returns the outcomes of the responses. */
async function exchange(text: string, fractions: readonly number[]): Promise<string[]> {
  const client = await RawClient.connect(gateway.gateway.url);
  const ends = [...fractions.map((each) => Math.floor(each * text.length)).sort((a, b) => a - b), text.length];
  const packets = ends.map((end, i) => text.slice(i === 0 ? 0 : ends[i - 1], end));
  await client.send(...packets.filter((packet) => packet !== ''));
  client.socket.end();
  return (await client.untilClosed()).filter(({ status }) => status !== 304).map(classifyResponse);
}

/** The most responses that these bytes may get: one per protocol version in them, and one for a malformed rest. */
const maxResponses = (bytes: string) => (bytes === '' ? 0 : bytes.split(/(?:HTTP|RTSP|ICE)\/\d/).length);

const fraction = fc.double({ min: 0, max: 1, noNaN: true });
const fractions = fc.array(fraction, { maxLength: 20 });
const randomBytes = (maxLength: number) =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));

/** Text with a meaning in HTTP, and random bytes. */
const nasty = fc.oneof(
  fc.constantFrom('\r', '\n', '\r\n', '\r\n\r\n', '\0', ' ', '\t', ':', ',', ';', '\x0b', '\x7f', '\xa0', '%', '/'),
  fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'GET', 'POST', 'CONNECT', 'PRI * HTTP/2.0', 'chunked', '0\r\n\r\n'),
  fc.constantFrom('Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', 'Host: b\r\n'),
  fc.constantFrom('Expect: 100-continue\r\n', 'Upgrade: h2c\r\nConnection: upgrade\r\n', 'If-None-Match: *\r\n'),
  randomBytes(12),
);

const change = fc.record({ at: fraction, removed: fc.nat(6), added: nasty });
const changes = fc.array(change, { minLength: 1, maxLength: 4 });
const mutated = fc.tuple(fc.integer({ min: 2, max: 5 }), changes).map(([count, changes]) =>
  changes.reduce((text, { at, removed, added }) => {
    const start = Math.floor(at * text.length);
    return text.slice(0, start) + added + text.slice(start + removed);
  }, valid.repeat(count)),
);

const knownNames = fc.constantFrom('Authorization', 'traceparent', 'tracestate', 'X-Forwarded-For', 'TE', '__proto__');
const headerLine = fc
  .tuple(fc.oneof(fc.string(), knownNames, nasty), fc.oneof(fc.string({ maxLength: 40 }), nasty))
  .map(([name, value]) => `${name}: ${value}\r\n`);
const withRandomHeaders = fc
  .array(headerLine, { minLength: 1, maxLength: 6 })
  .map((lines) => `${valid.slice(0, -2)}${lines.join('')}\r\n`);

test.each([
  ['pipelined requests with random changes', mutated],
  ['a request with random headers', withRandomHeaders],
  ['random bytes', randomBytes(400)],
  ['random pieces of HTTP', fc.array(nasty, { maxLength: 40 }).map((pieces) => pieces.join(''))],
])('the gateway survives %s in random packets, responds validly and forwards nothing else', async (_title, bytes) => {
  await fc.assert(
    fc.asyncProperty(bytes, fractions, async (text, splits) => {
      const before = gateway.upstream.requests.length;
      const outcomes = await exchange(text, splits);
      expect(outcomes).not.toContain('INTERNAL_ERROR');
      expect(outcomes).not.toContain('UPSTREAM_ERROR');
      expect(outcomes.length).toBeLessThanOrEqual(maxResponses(text));
      expect(gateway.upstream.requests.length - before).toBe(outcomes.filter((outcome) => outcome === 'OK').length);
      expect((await gateway.read()).status).toBe(200);
    }),
    { numRuns: 40 },
  );
});
