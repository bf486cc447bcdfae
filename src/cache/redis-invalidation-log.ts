import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RedisClient, Script } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { formatInvalidation, type Invalidation, type InvalidationListener, parseInvalidation } from './invalidation.ts';

/** How many invalidations the log retains. A process that has missed more invalidates everything. */
const CAPACITY = 10_000;
const POLL_INTERVAL_MS = 200;
/** After a message. Invalidations that are appended until then are read together. */
const WAKE_DELAY_MS = 10;

/** It begins with a deletion, of nothing, so that it also runs in a full Redis: see `REPLACE` in `redis-key-store.ts`. */
const APPEND = `
redis.call('HDEL', KEYS[1], '')
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
for i = 3, #ARGV do
  local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
  redis.call('HSET', KEYS[1], sequence, ARGV[i])
  redis.call('HDEL', KEYS[1], sequence - ARGV[2])
end
redis.pcall('PUBLISH', KEYS[1], '')`;

const READ = readFileSync(new URL('read-invalidations.lua', import.meta.url), 'utf8');
type ReadReply = [epoch: string, sequence: number, ...invalidations: string[]];

/**
 * The log that all processes read when a message reports a change, and at every poll, so that no lost message can hide an
 * invalidation. Where invalidations may have been missed (the log was lost, or more were appended than it retains), listeners
 * receive 'all'.
 */
export class RedisInvalidationLog {
  readonly #redis: RedisClient;
  readonly #pollIntervalMs: number;
  readonly #key: string;
  readonly #append: Script;
  readonly #read: Script;
  readonly #listeners: InvalidationListener[] = [];
  #position: { readonly epoch: string; readonly sequence: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wakeTimer: NodeJS.Timeout | undefined;
  #unsubscribe = () => {};
  #isPolling = false;

  constructor(redis: RedisClient, { pollIntervalMs = POLL_INTERVAL_MS } = {}) {
    this.#redis = redis;
    this.#pollIntervalMs = pollIntervalMs;
    this.#key = redis.key('changes');
    this.#append = redis.defineScript('appendInvalidation', APPEND);
    this.#read = redis.defineScript('readInvalidations', READ);
  }

  /** Epoch of the last position read. Shared entries of another epoch may have missed a purge. */
  get epoch(): string | undefined {
    return this.#position?.epoch;
  }

  /** Rejects with `StoreUnavailableError`. */
  async append(invalidations: readonly Invalidation[]): Promise<void> {
    await this.#append([this.#key], [randomUUID(), CAPACITY, ...invalidations.map(formatInvalidation)]);
  }

  subscribe(listener: InvalidationListener): void {
    this.#listeners.push(listener);
  }

  /** Starts polling. Resolves after the first poll, even if Redis is unavailable. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#poll(), this.#pollIntervalMs).unref();
    this.#unsubscribe = this.#redis.subscribe(this.#key, () => this.#wake());
    await this.#poll();
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#wakeTimer);
    this.#unsubscribe();
  }

  #wake(): void {
    this.#wakeTimer ??= setTimeout(() => {
      this.#wakeTimer = undefined;
      void this.#poll();
    }, WAKE_DELAY_MS).unref();
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return this.#wake(); // The reply may predate the message.
    this.#isPolling = true;
    try {
      const { epoch, sequence } = this.#position ?? { epoch: '', sequence: 0 };
      const reply = await this.#read([this.#key], [epoch, sequence, randomUUID(), CAPACITY]);
      const [newEpoch, newSequence, ...invalidations] = reply as ReadReply;
      this.#position = { epoch: newEpoch, sequence: newSequence };
      for (const text of invalidations) {
        for (const listener of this.#listeners) listener(parseInvalidation(text));
      }
    } catch (error) {
      // The client logs that Redis is unavailable, and the next poll starts at the same position.
      if (!(error instanceof StoreUnavailableError)) throw error;
    } finally {
      this.#isPolling = false;
    }
  }
}
