import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { framedRequests } from './framed-requests.ts';
import { malformedHeads } from './malformed-heads.ts';
import type { RawRequest } from './raw-requests.ts';

const rawRequests = [...malformedHeads, ...framedRequests];
let gateway: EmbeddedGateway;
let expectedUpstreamRequests = 0;

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', DOCS: 'false' });
});
afterAll(async () => {
  const { upstream } = gateway;
  await gateway.stop();
  expect(upstream.requests.length).toBe(expectedUpstreamRequests); // No smuggled request was forwarded.
});

const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

async function check({ bytes, responses, closes }: RawRequest, packets: number): Promise<void> {
  expectedUpstreamRequests += responses.filter((outcome) => outcome === 'OK').length;
  const client = await RawClient.connect(gateway.gateway.url);
  const all = Buffer.from(bytes.replaceAll('KEY', gateway.credentials['x-api-key'] ?? ''), 'latin1');
  const size = Math.ceil(all.length / packets);
  for (let at = 0; at < all.length && !client.closed; at += size) await client.send(all.subarray(at, at + size));
  if (!closes) {
    await client.untilResponses(responses.length);
    await client.send(LAST);
  }
  const outcomes = (await client.untilClosed()).map(classifyResponse);
  expect(outcomes).toEqual(closes ? responses : [...responses, 'NOT_FOUND']);
}

test('the tables of raw requests have more than 100 rows with unique names', () => {
  expect(new Set(rawRequests.map(({ name }) => name)).size).toBe(rawRequests.length);
  expect(rawRequests.length).toBeGreaterThan(100);
});

// Concurrent, because a connection with an unread body lingers for two seconds.
test.concurrent.each(rawRequests)('$name: the responses are $responses', (row) => check(row, 1));

const divisible = rawRequests.filter(({ inOnePacket }) => !inOnePacket);
test.concurrent.each(divisible)('$name, in 60 packets: the responses are $responses', (row) => check(row, 60));
