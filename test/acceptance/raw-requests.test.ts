import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { type RawRequest, rawRequests } from './raw-requests.ts';

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

async function exchange({ bytes, responses, closes }: RawRequest, packets: number): Promise<string[]> {
  expectedUpstreamRequests += responses.filter((outcome) => outcome === 'OK').length;
  const client = await RawClient.connect(gateway.gateway.url);
  const all = Buffer.from(bytes.replaceAll('KEY', gateway.credentials['x-api-key'] ?? ''), 'latin1');
  const size = Math.ceil(all.length / packets);
  for (let at = 0; at < all.length && !client.closed; at += size) await client.send(all.subarray(at, at + size));
  if (!closes) {
    await client.untilResponses(responses.length);
    await client.send(LAST);
  }
  return (await client.untilClosed()).map(classifyResponse);
}

// Concurrent, because a connection with an unread body lingers for two seconds.
test.concurrent.each(rawRequests)('$name, in one packet and in 60: the responses are $responses', async (row) => {
  const expected = row.closes ? row.responses : [...row.responses, 'NOT_FOUND'];
  expect(await Promise.all([exchange(row, 1), exchange(row, 60)])).toEqual([expected, expected]);
});
