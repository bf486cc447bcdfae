import { readFileSync } from 'node:fs';
import type { RedisClient, Script } from '../redis/client.ts';
import { hasRoom, toDecision } from './gcra.ts';
import type { ConsumeResult, RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

const script = readFileSync(new URL('gcra.lua', import.meta.url), 'utf8');
const KEY_CHANGED = -1;

/** Requests per script call. Redis serves no other client while a script runs. */
const MAX_BATCH = 32;

interface PendingRequest extends Pick<PromiseWithResolvers<ConsumeResult>, 'resolve' | 'reject'> {
  readonly subject: RateLimitSubject;
}

/** One request of a script call. */
interface ScriptRequest {
  readonly subject: RateLimitSubject;
  readonly isConsuming: boolean;
  /** For each limit, the requests to add first. */
  readonly unreported?: readonly number[];
}

/** 1 (allowed), 0 (limited) or `KEY_CHANGED`, and the levels after the request. */
type ScriptReply = [status: number, ...levels: number[]];

/**
 * Rate limits that all gateways share. They are exact for any number of gateways: one script decides, on the clock of Redis.
 * The requests of one turn of the event loop share a script call; in a cluster, only those of one subject do.
 */
export class RedisLimiter implements RateLimiter {
  readonly #redis: RedisClient;
  readonly #script: Script;
  #pending: PendingRequest[] = [];

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#script = redis.defineScript('consumeRateLimit', script);
  }

  consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const { promise, resolve, reject } = Promise.withResolvers<ConsumeResult>();
    if (this.#pending.length === 0) setImmediate(() => this.#flush());
    this.#pending.push({ subject, resolve, reject });
    return promise;
  }

  /** The decision for a request now, without counting one and without comparing the key version. */
  async peek({ id, limits }: RateLimitSubject): Promise<RateLimitDecision> {
    const [[, ...levels]] = await this.#runScript([{ subject: { id, limits }, isConsuming: false }]);
    return toDecision(hasRoom(limits, levels) ? 'allowed' : 'limited', limits, levels);
  }

  /** Adds requests that were admitted while Redis was unavailable: `unreported` for each limit, up to its capacity. */
  async reconcile(id: string, limits: readonly RateLimit[], unreported: readonly number[]): Promise<void> {
    await this.#runScript([{ subject: { id, limits }, isConsuming: false, unreported }]);
  }

  #flush(): void {
    // In a cluster, subjects may be on different nodes.
    const groups = Map.groupBy(this.#pending, ({ subject }) => (this.#redis.isCluster ? subject.id : ''));
    this.#pending = [];
    for (const group of groups.values()) {
      for (let i = 0; i < group.length; i += MAX_BATCH) void this.#send(group.slice(i, i + MAX_BATCH));
    }
  }

  async #send(batch: readonly PendingRequest[]): Promise<void> {
    try {
      const replies = await this.#runScript(batch.map(({ subject }) => ({ subject, isConsuming: true })));
      for (const [i, { subject, resolve }] of batch.entries()) resolve(toResult(subject, replies[i] as ScriptReply));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  async #runScript(requests: readonly ScriptRequest[]): Promise<[ScriptReply, ...ScriptReply[]]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const { subject, isConsuming, unreported = [] } of requests) {
      const { id, keyId = id, keyVersion = '', limits } = subject;
      // In a cluster, both ids are in one slot.
      keys.push(this.#redis.key(`{${keyId}}:key`), this.#redis.key(`{${id}}:limit`));
      args.push(keyVersion, Number(isConsuming), limits.length);
      for (const [i, { quota, windowMs, burst }] of limits.entries()) {
        args.push(quota, windowMs, burst, unreported[i] ?? 0);
      }
    }
    return (await this.#script(keys, args)) as [ScriptReply, ...ScriptReply[]];
  }
}

function toResult({ limits }: RateLimitSubject, [status, ...levels]: ScriptReply): ConsumeResult {
  if (status === KEY_CHANGED) return { outcome: 'key_changed' };
  return toDecision(status === 1 ? 'allowed' : 'limited', limits, levels);
}
