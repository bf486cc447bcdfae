import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { type BadRequest, badRequests } from './bad-requests.ts';

let gateway: EmbeddedGateway;
/** Requests that the campaign service should have seen. */
let due = 0;

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' });
});
afterAll(async () => {
  const { upstream } = gateway;
  await gateway.stop();
  expect(upstream.requests.length).toBe(due); // Nor has any come late.
});

const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

async function check({ bytes, answers, ends }: BadRequest, pieces: number): Promise<void> {
  const asked = gateway.upstream.requests.length;
  const forwarded = answers.filter((answer) => answer === 'OK').length;
  due += forwarded;
  const client = await RawClient.connect(gateway.gateway.url);
  const whole = Buffer.from(bytes.replaceAll('KEY', gateway.credentials['x-api-key'] ?? ''), 'latin1');
  const size = Math.ceil(whole.length / pieces);
  for (let at = 0; at < whole.length && !client.ended; at += size) await client.send(whole.subarray(at, at + size));
  if (!ends) {
    await client.untilAnswers(answers.length);
    await client.send(LAST);
  }
  const seen = (await client.untilEnded()).map(classifyResponse);
  expect(seen).toEqual(ends ? answers : [...answers, 'NOT_FOUND']);
  expect(gateway.upstream.requests.length - asked).toBe(forwarded);
}

test('each case has a name of its own, and there are enough of them', () => {
  expect(new Set(badRequests.map(({ name }) => name)).size).toBe(badRequests.length);
  expect(badRequests.length).toBeGreaterThan(100);
});

test.each(badRequests)('$name: $answers', (row) => check(row, 1));

const dividable = badRequests.filter(({ inOnePacket }) => !inOnePacket);
test.each(dividable)('in many packets, $name: $answers', (row) => check(row, 60));
