import { pino } from 'pino';
import {
  type ConsumeResult,
  keyRateLimits,
  parseRateLimit,
  type RateLimiter,
} from '../../src/rate-limit/rate-limiter.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';

let subjects = 0;

export const parseLimits = (...texts: string[]) => keyRateLimits(texts, parseRateLimit('600/60s'));

/** A subject that no other test uses. */
export const newSubject = (...limits: string[]) => ({ id: `subject${subjects++}`, limits: parseLimits(...limits) });

export const countAllowed = (results: readonly ConsumeResult[]) =>
  results.filter(({ outcome }) => outcome === 'allowed').length;

/** The remaining requests of each limit. */
export const getRemaining = (result: ConsumeResult) =>
  'states' in result ? result.states.map(({ remaining }) => remaining) : [];

export const consumeTimes = (limiter: RateLimiter, subject: ReturnType<typeof newSubject>, requests: number) =>
  Promise.all(Array.from({ length: requests }, () => limiter.consume(subject)));

/** A client with a timeout that a slow machine does not exceed. Every gateway process has its own. */
export async function openClient(url: string): Promise<RedisClient> {
  const address = parseRedisUrl(url) as RedisAddress;
  const client = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  await client.whenReady(10_000);
  return client;
}
