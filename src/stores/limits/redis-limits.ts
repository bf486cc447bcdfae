import { readFileSync } from 'node:fs';
import type { RedisLink } from '../redis-link.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { describeCharge, pour, room } from './gcra.ts';
import type { Charge, ChargeAnswer, Limits, RateLimit, Subject } from './limits.ts';

const script = readFileSync(new URL('redis-limits.lua', import.meta.url), 'utf8');
const KEY_CHANGED = -1;

/** The requests of one subject in one turn of the event loop: they go to Redis as one call. */
interface Batch {
  readonly subject: Subject;
  readonly waiting: PromiseWithResolvers<ChargeAnswer>[];
}

/** Limits that all gateways share, exact for any number of them: one script decides, on Redis' clock. */
export class RedisLimits implements Limits {
  readonly #link: RedisLink;
  readonly #charge: (keys: [string, string], args: (string | number)[]) => Promise<unknown>;
  #batches = new Map<string, Batch>();

  constructor(link: RedisLink) {
    this.#link = link;
    this.#charge = link.defineScript('chargeLimits', script);
  }

  charge(subject: Subject): Promise<ChargeAnswer> {
    const waiter = Promise.withResolvers<ChargeAnswer>();
    if (this.#batches.size === 0) this.#link.atEndOfTurn(() => this.#flush());
    // Two requests of one turn may rely on different versions of the same key: each version is a batch of its own.
    const batchKey = `${subject.id} ${subject.keyVersion}`;
    const batch = this.#batches.get(batchKey);
    if (batch) batch.waiting.push(waiter);
    else this.#batches.set(batchKey, { subject, waiting: [waiter] });
    return waiter.promise;
  }

  /** What would be answered now, counting nothing and whatever the version of the key. */
  async peek({ id, limits }: Subject): Promise<Charge> {
    const subject: Subject = { id, limits };
    const [, levels] = await this.#ask(subject, 0);
    return describeCharge(room(limits, levels) >= 1 ? 'allowed' : 'limited', limits, levels);
  }

  /** Counts requests that were admitted without asking: so many against each limit, as far as its bucket goes. */
  async settle(id: string, limits: readonly RateLimit[], owed: readonly number[]): Promise<void> {
    await this.#ask({ id, limits }, 0, owed);
  }

  #flush(): void {
    const batches = this.#batches;
    this.#batches = new Map();
    for (const batch of batches.values()) void this.#send(batch);
  }

  async #send({ subject, waiting }: Batch): Promise<void> {
    try {
      const [admitted, levels] = await this.#ask(subject, waiting.length);
      for (const [i, waiter] of waiting.entries()) waiter.resolve(answer(subject, admitted, levels, i));
    } catch (error) {
      for (const waiter of waiting) waiter.reject(error);
    }
  }

  async #ask(
    subject: Subject,
    requests: number,
    owed: readonly number[] = [],
  ): Promise<[admitted: number, levels: number[]]> {
    const { id, keyVersion = '', limits } = subject;
    const keys: [string, string] = [this.#link.key(`{${id}}:key`), this.#link.key(`{${id}}:limit`)];
    const rates = limits.flatMap(({ quota, windowMs }, i) => [quota, windowMs, owed[i] ?? 0]);
    return readReply(await this.#charge(keys, [keyVersion, requests, ...rates]), subject);
  }
}

function readReply(reply: unknown, subject: Subject): [admitted: number, levels: number[]] {
  const numbers = Array.isArray(reply) ? reply : [];
  const complete = numbers[0] === KEY_CHANGED || numbers.length === 1 + subject.limits.length;
  if (!complete || !numbers.every(Number.isSafeInteger))
    throw new StoreUnavailable('the limit script answered nonsense');
  const [admitted, ...levels] = numbers as [number, ...number[]];
  return [admitted, levels];
}

/** The answer for the request that came as number `position` (from 0) of its batch. */
function answer(subject: Subject, admitted: number, levels: number[], position: number): ChargeAnswer {
  if (admitted === KEY_CHANGED) return { outcome: 'key_changed' };
  const allowed = position < admitted;
  const after = pour(subject.limits, levels, allowed ? position + 1 : admitted);
  return describeCharge(allowed ? 'allowed' : 'limited', subject.limits, after);
}
