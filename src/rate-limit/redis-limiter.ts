import { readFileSync } from 'node:fs';
import type { RedisClient, Script } from '../redis/client.ts';
import { hasRoom, toDecision } from './gcra.ts';
import type { ConsumeResult, RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

const script = readFileSync(new URL('gcra.lua', import.meta.url), 'utf8');
const KEY_CHANGED = -1;

/** Subjects per script call. Redis serves no other client while a script runs. */
const MAX_BATCH = 32;

interface PendingRequest extends Pick<PromiseWithResolvers<ConsumeResult>, 'resolve' | 'reject'> {
  readonly subject: RateLimitSubject;
}

/** The requests of one subject in a script call. */
interface ScriptRequest {
  readonly subject: RateLimitSubject;
  readonly requests: number;
  /** For each limit, the requests to add first. */
  readonly unreported?: readonly number[];
}

/** The number of allowed requests or `KEY_CHANGED`, and the levels after them. */
type ScriptReply = [allowed: number, ...levels: number[]];

/**
 * Rate limits that all gateways share. They are exact for any number of gateways: one script decides, on the clock of Redis.
 * The requests of one turn of the event loop share a script call; in a cluster, only those of one subject do. perf: requests of
 * one subject share its keys and arguments, too.
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
    const [[, ...levels]] = await this.#runScript([{ subject: { id, limits }, requests: 0 }]);
    return toDecision(hasRoom(limits, levels) ? 'allowed' : 'limited', limits, levels);
  }

  /** Adds requests that were admitted while Redis was unavailable: `unreported` for each limit, up to its capacity. */
  async reconcile(id: string, limits: readonly RateLimit[], unreported: readonly number[]): Promise<void> {
    await this.#runScript([{ subject: { id, limits }, requests: 0, unreported }]);
  }

  #flush(): void {
    const groups = [...Map.groupBy(this.#pending, ({ subject }) => subject).values()];
    this.#pending = [];
    const batchSize = this.#redis.isCluster ? 1 : MAX_BATCH; // In a cluster, subjects may be on different nodes.
    for (let i = 0; i < groups.length; i += batchSize) void this.#send(groups.slice(i, i + batchSize));
  }

  /** A group has the requests of one subject, in the order of their arrival. */
  async #send(groups: readonly (readonly PendingRequest[])[]): Promise<void> {
    try {
      const subjects = groups.map((group) => ({
        subject: (group[0] as PendingRequest).subject,
        requests: group.length,
      }));
      const replies = await this.#runScript(subjects);
      for (const [i, group] of groups.entries()) {
        for (const [position, { subject, resolve }] of group.entries()) {
          resolve(toResult(subject, replies[i] as ScriptReply, position));
        }
      }
    } catch (error) {
      for (const { reject } of groups.flat()) reject(error);
    }
  }

  async #runScript(subjects: readonly ScriptRequest[]): Promise<[ScriptReply, ...ScriptReply[]]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const { subject, requests, unreported = [] } of subjects) {
      const { id, keyId = id, keyVersion = '', limits } = subject;
      // In a cluster, both ids are in one slot.
      keys.push(this.#redis.key(`{${keyId}}:key`), this.#redis.key(`{${id}}:limit`));
      args.push(keyVersion, requests, limits.length);
      for (const [i, { quota, windowMs, burst }] of limits.entries()) {
        args.push(quota, windowMs, burst, unreported[i] ?? 0);
      }
    }
    return (await this.#script(keys, args)) as [ScriptReply, ...ScriptReply[]];
  }
}

/** The result of the request at `position` of its group: allowed requests come first, and later ones did not yet count. */
function toResult({ limits }: RateLimitSubject, [allowed, ...levels]: ScriptReply, position: number): ConsumeResult {
  if (allowed === KEY_CHANGED) return { outcome: 'key_changed' };
  if (position >= allowed) return toDecision('limited', limits, levels);
  const later = allowed - position - 1;
  return toDecision(
    'allowed',
    limits,
    levels.map((level, i) => level - later * (limits[i] as RateLimit).windowMs),
  );
}
