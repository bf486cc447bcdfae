import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses, rateLimitState } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

describe('header forms', () => {
  let stack: Stack;
  let gateway: RunningGateway;
  let key: string;
  let other: string;

  beforeAll(async () => {
    stack = await Stack.start();
    gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '1000000/1s' });
    [key, other] = [await stack.key(), await stack.key()];
  });
  afterAll(() => stack.stop());

  /** KEY and OTHER in the header lines stand for two valid keys. */
  async function fetchStatus(...lines: string[]): Promise<number | undefined> {
    const headers = lines.map((line) => `${line.replaceAll('KEY', key).replaceAll('OTHER', other)}\r\n`).join('');
    const text = await exchangeBytes(
      gateway.url,
      `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n`,
    );
    return parseResponses(text)[0]?.status;
  }

  test.each([
    ['X-API-Key: KEY'],
    ['x-api-key:KEY'],
    ['X-API-Key: \t KEY \t '],
    ['Authorization: Bearer KEY'],
    ['Authorization: bearer KEY'],
    ['authorization: BEARER   KEY'],
    ['X-API-Key: KEY', 'Authorization: Bearer KEY'],
    ['X-API-Key: ', 'Authorization: Bearer KEY'],
    ['X-API-Key: KEY', 'Authorization: '],
    ['X-API-Key: KEY', 'Authorization: Bearer'],
    ['X-API-Key: KEY', 'Authorization: Bearer '],
  ])('the credentials are accepted: %s %s', async (...lines) => {
    expect(await fetchStatus(...lines)).toBe(200);
  });

  test.each([
    [],
    ['X-API-Key:'],
    ['X-API-Key: KEYx'],
    ['X-API-Key: xKEY'],
    ['X-API-Key: KEY OTHER'],
    ['X-API-Key: KEY,OTHER'],
    ['X-API-Key: KEY,KEY'],
    ['X-API-Key: KEY', 'X-API-Key: KEY'],
    ['X-API-Key: KEY', 'X-API-Key: OTHER'],
    ['X-API-Key: KEY', 'X-API-Key:'],
    ['X-API-Key: "KEY"'],
    ['X-API-Key: Bearer KEY'],
    ['Authorization: KEY'],
    ['Authorization: Basic KEY'],
    ['Authorization: Bearer KEY KEY'],
    ['Authorization: Bearer KEY, Bearer KEY'],
    ['Authorization: BearerKEY'],
    ['Authorization: Bearer KEY', 'Authorization: Bearer KEY'],
    ['Authorization: Bearer KEY', 'Authorization: Bearer OTHER'],
    ['Authorization: Bearer KEY', 'Authorization: Basic abc'],
    ['X-API-Key: KEY', 'Authorization: Bearer OTHER'],
    ['X-API-Key: KEY', 'Authorization: Basic abc'],
    ['X-API-Key: nonsense', 'Authorization: Bearer KEY'],
    ['X-API-Key: KEY', 'Authorization: Bearer KEY', 'Authorization: Bearer KEY'],
    ['X-API-Key: KEY', 'Authorization:', 'Authorization: Bearer OTHER'],
    ['X-API-Key: KEY', 'Authorization:', 'Authorization:'],
    ['X-API-Key:', 'X-API-Key:', 'Authorization: Bearer KEY'],
    ['Api-Key: KEY'],
    ['Cookie: X-API-Key=KEY'],
  ])('the credentials are rejected: %s %s %s', async (...lines) => {
    expect(await fetchStatus(...lines)).toBe(401);
  });

  test('a key in the query string is not accepted', async () => {
    expect((await get(`${gateway.url}${campaignPath}?api_key=${key}&X-API-Key=${key}`)).status).toBe(401);
  });

  test('a key with any single mistyped character is rejected without a Redis lookup', async () => {
    const lookups = async () =>
      Number(/cmdstat_hgetall:calls=(\d+)/.exec(await stack.redis.client.info('commandstats'))?.[1] ?? 0);
    const before = await lookups();
    for (let i = 0; i < key.length; i++) {
      const mistyped = key.slice(0, i) + (key[i] === 'z' ? 'y' : 'z') + key.slice(i + 1);
      const { status } = await get(gateway.url + campaignPath, { 'x-api-key': mistyped });
      expect([mistyped, status]).toEqual([mistyped, 401]);
    }
    expect(await lookups()).toBe(before);
  });
});

describe('the failed-key limit', () => {
  let stack: Stack;

  beforeAll(async () => {
    stack = await Stack.start();
  });
  afterAll(() => stack.stop());

  /** A separate key prefix keeps the counters of the tests apart. */
  const startGateway = (prefix: string, settings: Record<string, string>) =>
    stack.gateway({ ...settings, REDIS_KEY_PREFIX: `campaign-gateway:${prefix}` });
  const read = ({ url }: RunningGateway, headers: Record<string, string>) => get(url + campaignPath, headers);
  const malformed = { 'x-api-key': 'cgw_guess' };

  test('limits failed keys of one address; a missing key does not count as failed', async () => {
    const gateway = await startGateway('strict', { AUTH_FAILURE_LIMIT: '3/3600s' });
    const statuses = async (headers: Record<string, string>) => {
      const all: number[] = [];
      while (all.length < 5) all.push((await read(gateway, headers)).status);
      return all;
    };
    expect(await statuses({})).toEqual([401, 401, 401, 401, 401]);
    expect(await statuses(malformed)).toEqual([401, 401, 401, 429, 429]);

    const response = await read(gateway, malformed);
    expect(response.body.error?.code).toBe('RATE_LIMITED');
    expect(response.headers.get('ratelimit-policy')).toBe('"failed-keys";q=3;w=3600');
    expect(Number(response.headers.get('retry-after'))).toBe(rateLimitState(response).t);
  });

  test('does not reject a valid key from a limited address', async () => {
    const gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s' });
    for (let i = 0; i < 5; i++) await read(gateway, malformed);
    expect((await read(gateway, malformed)).status).toBe(429);
    expect((await read(gateway, { 'x-api-key': await stack.key() })).status).toBe(200);
  });

  test('applies to the client address from a trusted proxy, and to the /64 network of an IPv6 address', async () => {
    const gateway = await startGateway('proxied', { AUTH_FAILURE_LIMIT: '1/3600s', TRUST_PROXY: '1' });
    const statuses = async (...addresses: string[]) => {
      const all: number[] = [];
      for (const address of addresses)
        all.push((await read(gateway, { ...malformed, 'x-forwarded-for': address })).status);
      return all;
    };
    expect(await statuses('192.0.2.1', '192.0.2.1', '192.0.2.2')).toEqual([401, 429, 401]);
    expect(await statuses('2001:db8::1', '2001:db8:0:0:ffff::2', '2001:db8:0:1::1')).toEqual([401, 429, 401]);
    // Only the last hop is trusted, so an address that the client adds has no effect.
    expect(await statuses('203.0.113.9, 192.0.2.1')).toEqual([429]);
  });
});
