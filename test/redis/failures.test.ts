import { ReplyError } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { classifyRedisFailure, describeRedisFailure } from '../../src/redis/failures.ts';
import { MasterSearch } from '../../src/redis/master-search.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';

const address = parseRedisUrl('redis://gateway:hunter2@redis.internal:6380/5') as RedisAddress;
const SCRIPT_PREFIX = 'ERR Error running script (call to f_0123456789abcdef): @user_script:1: @user_script: 1: -';

const replies = [
  ['WRONGPASS invalid username-password pair', 'auth'],
  ['NOPERM this user has no permissions to run the command', 'permission'],
  ['OOM command not allowed when used memory', 'out_of_memory'],
  ['MISCONF Redis is configured to save RDB snapshots', 'persistence'],
  ["READONLY You can't write against a read only replica.", 'read_only'],
  ['LOADING Redis is loading the dataset in memory', 'loading'],
  ['BUSY Redis is busy running a script.', 'busy'],
  ['ERR DB index is out of range', 'database'],
  ['ERR max number of clients reached', 'too_many_clients'],
  ["ERR unknown command 'X', with args beginning with: 'READONLY'", 'error_reply'],
] as const;

test.each(replies)('"%s" is %s, as a reply and inside the error of a script of Redis 6.2', (text, failure) => {
  expect(classifyRedisFailure(new ReplyError(text))).toBe(failure);
  expect(classifyRedisFailure(new ReplyError(SCRIPT_PREFIX + text))).toBe(failure);
});

test('each kind of failure has its own sentence, with host and port and without a secret', () => {
  const codes = ['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'EHOSTUNREACH', 'CERT_HAS_EXPIRED', 'ECONNRESET'];
  const sentences = [
    ...replies.map(([text]) => new ReplyError(`${text} hunter2`)),
    ...codes.map((code) => Object.assign(new Error(`hunter2 ${code}`), { code })),
  ].map((error) => describeRedisFailure(error, address));
  expect(new Set(sentences).size).toBe(sentences.length);
  for (const sentence of sentences) expect(sentence).toMatch(/^Redis at redis\.internal:6380 (?!.*hunter2)/);
  expect(sentences[0]).toBe(
    'Redis at redis.internal:6380 rejects the user name or password (WRONGPASS): check those in REDIS_URL',
  );
});

test('the search for a master backs off to 30 seconds, and ends when a master is found', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const findMaster = vi.fn(async () => findMaster.mock.calls.length === 20);
  const reconnect = vi.fn();
  const search = new MasterSearch({ canWrite: async () => false, findMaster, reconnect });
  for (let i = 0; i < 20; i++) {
    search.start(); // Another write has failed.
    const before = Date.now();
    await vi.advanceTimersToNextTimerAsync();
    const [delayMs, maxMs] = [Date.now() - before, Math.min(250 * 2 ** i, 30_000)];
    expect([delayMs >= maxMs / 2, delayMs <= maxMs]).toEqual([true, true]);
  }
  expect([reconnect.mock.calls.length, vi.getTimerCount()]).toEqual([1, 0]);
});
