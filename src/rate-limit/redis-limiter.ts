import { readFileSync } from 'node:fs';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { admissible, fill, toDecision } from './gcra.ts';
import type { ConsumeResult, RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

const script = readFileSync(new URL('gcra.lua', import.meta.url), 'utf8');
const KEY_CHANGED = -1;

/** So many subjects go into one call: nobody else has an answer of Redis meanwhile. */
const MAX_BATCH = 32;

/** The requests of one subject in one turn of the event loop. */
interface Batch {
  readonly subject: RateLimitSubject;
  readonly waiting: PromiseWithResolvers<ConsumeResult>[];
}

interface ConsumeRequest {
  readonly subject: RateLimitSubject;
  readonly requests: number;
  readonly owed?: readonly number[];
}

type Reply = [admitted: number, levels: number[]];

/**
 * Limits that all gateways share, exact for any number of them: one script decides, on Redis' clock. What comes in one turn of
 * the event loop goes to Redis as one call; in a cluster as one for each subject, which may be on different nodes.
 */
export class RedisLimiter implements RateLimiter {
  readonly #redis: RedisClient;
  readonly #consume: (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;
  /** Whether one call can reach one subject alone. */
  #isCluster: boolean;
  #batches = new Map<string, Batch>();

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#isCluster = redis.isCluster;
    this.#consume = redis.defineScript('chargeLimits', script);
  }

  consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const waiter = Promise.withResolvers<ConsumeResult>();
    this.#redis.beforeFlush(this.#flush);
    // Two requests of one turn may rely on different versions of the same key: each version is a batch of its own.
    const batchKey = `${subject.id} ${subject.keyVersion}`;
    const batch = this.#batches.get(batchKey);
    if (batch) batch.waiting.push(waiter);
    else this.#batches.set(batchKey, { subject, waiting: [waiter] });
    return waiter.promise;
  }

  /** What would be answered now, counting nothing and whatever the version of the key. */
  async peek({ id, limits }: RateLimitSubject): Promise<RateLimitDecision> {
    const [[, levels]] = await this.#runScript([{ subject: { id, limits }, requests: 0 }]);
    return toDecision(admissible(limits, levels) >= 1 ? 'allowed' : 'limited', limits, levels);
  }

  /** Counts requests that were admitted without asking: so many against each limit, as far as its bucket goes. */
  async reconcile(id: string, limits: readonly RateLimit[], owed: readonly number[]): Promise<void> {
    await this.#runScript([{ subject: { id, limits }, requests: 0, owed }]);
  }

  readonly #flush = () => {
    const batches = [...this.#batches.values()];
    this.#batches = new Map(); // Not cleared: see `Deadlines`.
    this.#sendAll(batches);
  };

  #sendAll(batches: readonly Batch[]): void {
    const batchSize = this.#isCluster ? 1 : MAX_BATCH;
    for (let i = 0; i < batches.length; i += batchSize) void this.#send(batches.slice(i, i + batchSize));
  }

  async #send(batches: readonly Batch[]): Promise<void> {
    try {
      const replies = await this.#runScript(
        batches.map(({ subject, waiting }) => ({ subject, requests: waiting.length })),
      );
      for (const [i, { subject, waiting }] of batches.entries()) {
        const [admitted, levels] = replies[i] as Reply;
        for (const [position, waiter] of waiting.entries()) {
          waiter.resolve(positionedDecision(subject, admitted, levels, position));
        }
      }
    } catch (error) {
      if (batches.length > 1 && isCrossSlotError(error)) {
        this.#isCluster = true; // There is a cluster behind what looks like one Redis.
        this.#sendAll(batches);
        return;
      }
      for (const { waiting } of batches) for (const waiter of waiting) waiter.reject(error);
    }
  }

  /** A reply for each question. */
  async #runScript(requests: readonly ConsumeRequest[]): Promise<[Reply, ...Reply[]]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const { subject, requests: count, owed = [] } of requests) {
      const { id, keyVersion = '', limits } = subject;
      keys.push(this.#redis.key(`{${id}}:key`), this.#redis.key(`{${id}}:limit`));
      args.push(keyVersion, count, limits.length);
      for (const [i, { quota, windowMs }] of limits.entries()) args.push(quota, windowMs, owed[i] ?? 0);
    }
    const replies = await this.#consume(keys, args);
    if (!Array.isArray(replies) || replies.length !== requests.length) throw invalidReply();
    return requests.map(({ subject }, i) => parseReply(replies[i], subject)) as [Reply, ...Reply[]];
  }
}

function parseReply(reply: unknown, subject: RateLimitSubject): Reply {
  const numbers = Array.isArray(reply) ? reply : [];
  const complete = numbers[0] === KEY_CHANGED || numbers.length === 1 + subject.limits.length;
  if (!complete || !numbers.every(Number.isSafeInteger)) throw invalidReply();
  const [admitted, ...levels] = numbers as [number, ...number[]];
  return [admitted, levels];
}

/** Redis has refused the call as a whole: nothing of it was done. */
function isCrossSlotError(error: unknown): boolean {
  return (
    error instanceof StoreUnavailableError &&
    error.cause instanceof Error &&
    error.cause.message.startsWith('CROSSSLOT')
  );
}

function invalidReply(): StoreUnavailableError {
  return new StoreUnavailableError('the limit script answered nonsense');
}

/** The answer for the request that came as number `position` (from 0) of its batch. */
function positionedDecision(
  subject: RateLimitSubject,
  admitted: number,
  levels: number[],
  position: number,
): ConsumeResult {
  if (admitted === KEY_CHANGED) return { outcome: 'key_changed' };
  const allowed = position < admitted;
  const after = fill(subject.limits, levels, allowed ? position + 1 : admitted);
  return toDecision(allowed ? 'allowed' : 'limited', subject.limits, after);
}
