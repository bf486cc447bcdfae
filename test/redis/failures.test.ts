import { ReplyError } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { classifyRedisFailure, describeRedisFailure } from '../../src/redis/failures.ts';
import { MasterSearch } from '../../src/redis/master-search.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';

const address = parseRedisUrl('redis://gateway:hunter2@redis.internal:6380/5') as RedisAddress;
const SCRIPT_PREFIX = 'ERR Error running script (call to f_0123456789abcdef): @user_script:1: @user_script: 1: -';

test.each([
  ['OOM command not allowed when used memory', 'out_of_memory'],
  ['MISCONF Redis is configured to save RDB snapshots', 'persistence'],
  ["READONLY You can't write against a read only replica.", 'read_only'],
  ['LOADING Redis is loading the dataset in memory', 'loading'],
  ['BUSY Redis is busy running a script.', 'busy'],
  ['NOSCRIPT No matching script.', 'no_script'],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', 'wrong_type'],
  ['NOPERM this user has no permissions to run the command', 'permission'],
] as const)('"%s" is %s, as a reply and inside the error of a script of Redis 6.2', (text, failure) => {
  expect(classifyRedisFailure(new ReplyError(text))).toBe(failure);
  expect(classifyRedisFailure(new ReplyError(SCRIPT_PREFIX + text))).toBe(failure);
});

test('an error is not classified by words that it quotes', () => {
  expect(classifyRedisFailure(new ReplyError("ERR unknown command 'X', with args beginning with: 'READONLY'"))).toBe(
    'error_reply',
  );
});

test('each kind of failure has its own sentence, with host and port and without a secret', () => {
  const errors = [
    ...['WRONGPASS invalid username-password pair', 'NOPERM no permissions', 'OOM', 'MISCONF x', 'READONLY x'],
    ...['LOADING x', 'BUSY x', 'ERR DB index is out of range', 'ERR max number of clients reached'],
  ].map((text) => new ReplyError(`${text} hunter2`) as Error);
  for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'EHOSTUNREACH', 'CERT_HAS_EXPIRED', 'ECONNRESET']) {
    errors.push(Object.assign(new Error(`hunter2 ${code}`), { code }));
  }
  const sentences = errors.map((error) => describeRedisFailure(error, address));
  expect(new Set(sentences).size).toBe(errors.length);
  for (const sentence of sentences) {
    expect(sentence).toMatch(/^Redis at redis\.internal:6380 /);
    expect(sentence).not.toContain('hunter2');
  }
  expect(sentences[0]).toBe(
    'Redis at redis.internal:6380 rejects the user name or password (WRONGPASS): check those in REDIS_URL',
  );
});

test('the search for a master backs off to 30 seconds, and ends when a master is found', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const canWrite = async () => false;
  const findMaster = vi.fn(async () => findMaster.mock.calls.length === 20);
  const reconnect = vi.fn();
  const search = new MasterSearch({ canWrite, findMaster, reconnect });
  for (let i = 0; i < 20; i++) {
    search.start(); // Another write has failed.
    const before = Date.now();
    await vi.advanceTimersToNextTimerAsync();
    const [delayMs, maxMs] = [Date.now() - before, Math.min(250 * 2 ** i, 30_000)];
    expect([delayMs >= maxMs / 2, delayMs <= maxMs]).toEqual([true, true]);
  }
  const counts = [findMaster.mock.calls.length, reconnect.mock.calls.length, vi.getTimerCount()];
  expect(counts).toEqual([20, 1, 0]);
});
