import { readFileSync } from 'node:fs';
import type { RedisLink } from '../redis-link.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { describeCharge, pour, room } from './gcra.ts';
import type { Charge, ChargeAnswer, Limits, RateLimit, Subject } from './limits.ts';

const script = readFileSync(new URL('redis-limits.lua', import.meta.url), 'utf8');
const KEY_CHANGED = -1;

/** So many subjects go into one call: nobody else has an answer of Redis meanwhile. */
const MAX_SUBJECTS = 32;

/** The requests of one subject in one turn of the event loop. */
interface Batch {
  readonly subject: Subject;
  readonly waiting: PromiseWithResolvers<ChargeAnswer>[];
}

interface Question {
  readonly subject: Subject;
  readonly requests: number;
  readonly owed?: readonly number[];
}

type Reply = [admitted: number, levels: number[]];

/**
 * Limits that all gateways share, exact for any number of them: one script decides, on Redis' clock. What comes in one turn of
 * the event loop goes to Redis as one call; in a cluster as one for each subject, which may be on different nodes.
 */
export class RedisLimits implements Limits {
  readonly #link: RedisLink;
  readonly #charge: (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;
  /** Whether one call can reach one subject alone. */
  #isSharded: boolean;
  #batches = new Map<string, Batch>();

  constructor(link: RedisLink) {
    this.#link = link;
    this.#isSharded = link.isSharded;
    this.#charge = link.defineScript('chargeLimits', script);
  }

  charge(subject: Subject): Promise<ChargeAnswer> {
    const waiter = Promise.withResolvers<ChargeAnswer>();
    this.#link.atEndOfTurn(this.#flush);
    // Two requests of one turn may rely on different versions of the same key: each version is a batch of its own.
    const batchKey = `${subject.id} ${subject.keyVersion}`;
    const batch = this.#batches.get(batchKey);
    if (batch) batch.waiting.push(waiter);
    else this.#batches.set(batchKey, { subject, waiting: [waiter] });
    return waiter.promise;
  }

  /** What would be answered now, counting nothing and whatever the version of the key. */
  async peek({ id, limits }: Subject): Promise<Charge> {
    const [[, levels]] = await this.#ask([{ subject: { id, limits }, requests: 0 }]);
    return describeCharge(room(limits, levels) >= 1 ? 'allowed' : 'limited', limits, levels);
  }

  /** Counts requests that were admitted without asking: so many against each limit, as far as its bucket goes. */
  async settle(id: string, limits: readonly RateLimit[], owed: readonly number[]): Promise<void> {
    await this.#ask([{ subject: { id, limits }, requests: 0, owed }]);
  }

  readonly #flush = () => {
    const batches = [...this.#batches.values()];
    this.#batches = new Map(); // Not cleared: see `Deadlines`.
    this.#sendAll(batches);
  };

  #sendAll(batches: readonly Batch[]): void {
    const together = this.#isSharded ? 1 : MAX_SUBJECTS;
    for (let i = 0; i < batches.length; i += together) void this.#send(batches.slice(i, i + together));
  }

  async #send(batches: readonly Batch[]): Promise<void> {
    try {
      const replies = await this.#ask(batches.map(({ subject, waiting }) => ({ subject, requests: waiting.length })));
      for (const [i, { subject, waiting }] of batches.entries()) {
        const [admitted, levels] = replies[i] as Reply;
        for (const [position, waiter] of waiting.entries()) {
          waiter.resolve(answer(subject, admitted, levels, position));
        }
      }
    } catch (error) {
      if (batches.length > 1 && isOfSeveralSlots(error)) {
        this.#isSharded = true; // There is a cluster behind what looks like one Redis.
        this.#sendAll(batches);
        return;
      }
      for (const { waiting } of batches) for (const waiter of waiting) waiter.reject(error);
    }
  }

  /** A reply for each question. */
  async #ask(questions: readonly Question[]): Promise<[Reply, ...Reply[]]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const { subject, requests, owed = [] } of questions) {
      const { id, keyVersion = '', limits } = subject;
      keys.push(this.#link.key(`{${id}}:key`), this.#link.key(`{${id}}:limit`));
      args.push(keyVersion, requests, limits.length);
      for (const [i, { quota, windowMs }] of limits.entries()) args.push(quota, windowMs, owed[i] ?? 0);
    }
    const replies = await this.#charge(keys, args);
    if (!Array.isArray(replies) || replies.length !== questions.length) throw nonsense();
    return questions.map(({ subject }, i) => readReply(replies[i], subject)) as [Reply, ...Reply[]];
  }
}

function readReply(reply: unknown, subject: Subject): Reply {
  const numbers = Array.isArray(reply) ? reply : [];
  const complete = numbers[0] === KEY_CHANGED || numbers.length === 1 + subject.limits.length;
  if (!complete || !numbers.every(Number.isSafeInteger)) throw nonsense();
  const [admitted, ...levels] = numbers as [number, ...number[]];
  return [admitted, levels];
}

/** Redis has refused the call as a whole: nothing of it was done. */
function isOfSeveralSlots(error: unknown): boolean {
  return (
    error instanceof StoreUnavailable && error.cause instanceof Error && error.cause.message.startsWith('CROSSSLOT')
  );
}

function nonsense(): StoreUnavailable {
  return new StoreUnavailable('the limit script answered nonsense');
}

/** The answer for the request that came as number `position` (from 0) of its batch. */
function answer(subject: Subject, admitted: number, levels: number[], position: number): ChargeAnswer {
  if (admitted === KEY_CHANGED) return { outcome: 'key_changed' };
  const allowed = position < admitted;
  const after = pour(subject.limits, levels, allowed ? position + 1 : admitted);
  return describeCharge(allowed ? 'allowed' : 'limited', subject.limits, after);
}
