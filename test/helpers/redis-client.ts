import { pino } from 'pino';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';

/** A client that is up, with a timeout that a slow machine does not exceed. */
export async function openClient(url: string, prefix = 'test'): Promise<RedisClient> {
  const address = parseRedisUrl(url) as RedisAddress;
  const client = new RedisClient({ address, prefix, log: pino({ level: 'silent' }), timeoutMs: 30_000 });
  await client.whenReady(30_000);
  return client;
}
