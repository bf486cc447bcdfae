import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses, rateLimitState } from '../helpers/http.ts';
import type { RedisTopology } from '../helpers/redis.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

describe.each(redisTopologies)('Redis as %s', (_form, startRedis) => {
  let stack: Stack<RedisTopology>;
  let gateway: RunningGateway;
  let key: string;
  let other: string;

  beforeAll(async () => {
    stack = await Stack.start(startRedis);
    gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '1000/60s' });
    [key, other] = [await stack.key(), await stack.key()];
  });
  afterAll(() => stack.stop());

  /** Header lines as they go over the wire; KEY and OTHER stand for two valid keys. */
  async function statusOf(...lines: string[]): Promise<number | undefined> {
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
  ])('200: %s %s', async (...lines) => {
    expect(await statusOf(...lines)).toBe(200);
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
  ])('401: %s %s', async (...lines) => {
    expect(await statusOf(...lines)).toBe(401);
  });

  test('a key in the query is no key', async () => {
    expect((await get(`${gateway.url}${campaignPath}?api_key=${key}&X-API-Key=${key}`)).status).toBe(401);
  });

  test('every single mistyped character of a key is refused without a look-up', async () => {
    const before = await lookUps();
    for (let i = 0; i < key.length; i++) {
      const typed = key.slice(0, i) + (key[i] === 'z' ? 'y' : 'z') + key.slice(i + 1);
      expect([typed, (await get(gateway.url + campaignPath, { 'x-api-key': typed })).status]).toEqual([typed, 401]);
    }
    expect((await lookUps()) - before).toBe(0);
  });

  /** How many key records Redis has been asked for. */
  async function lookUps(): Promise<number> {
    const stats = await Promise.all(stack.redis.masters.map(({ client }) => client.info('commandstats')));
    const counts = stats.map((text) => Number(/cmdstat_hget:calls=(\d+)/.exec(text)?.[1] ?? 0));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  test('failed keys of one address are limited; a valid key from there is not, and a missing key is no failed one', async () => {
    const strict = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s', REDIS_KEY_PREFIX: 'campaign-gateway:strict' });
    const statuses = async (headers: Record<string, string>, times: number) => {
      const answers = [];
      for (let i = 0; i < times; i++) answers.push((await get(strict.url + campaignPath, headers)).status);
      return answers;
    };
    expect(await statuses({}, 5)).toEqual([401, 401, 401, 401, 401]);
    expect(await statuses({ 'x-api-key': 'cgw_guess' }, 5)).toEqual([401, 401, 401, 429, 429]);

    const refused = await get(strict.url + campaignPath, { 'x-api-key': 'cgw_guess' });
    expect(refused.body.error?.code).toBe('RATE_LIMITED');
    expect(refused.headers.get('ratelimit-policy')).toBe('"failed-keys";q=3;w=3600');
    expect(Number(refused.headers.get('retry-after'))).toBe(rateLimitState(refused).t);

    const shared = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s' });
    for (let i = 0; i < 5; i++) await get(shared.url + campaignPath, { 'x-api-key': 'cgw_guess' });
    expect((await get(shared.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  });

  test('behind a trusted proxy the failed keys are those of the client that it names, an IPv6 client being its /64', async () => {
    const behind = await stack.gateway({
      AUTH_FAILURE_LIMIT: '1/3600s',
      TRUST_PROXY: '1',
      REDIS_KEY_PREFIX: 'campaign-gateway:behind',
    });
    const from = async (address: string) =>
      (await get(behind.url + campaignPath, { 'x-api-key': 'cgw_guess', 'x-forwarded-for': address })).status;
    expect([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.2')]).toEqual([401, 429, 401]);
    expect([await from('2001:db8::1'), await from('2001:db8:0:0:ffff::2'), await from('2001:db8:0:1::1')]).toEqual([
      401, 429, 401,
    ]);
    // Only the last hop is trusted: what the client itself put before it does not help.
    expect(await from('203.0.113.9, 192.0.2.1')).toBe(429);
  });
});
