import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RedisClient, Script } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { formatInvalidation, type Invalidation, parseInvalidation } from './invalidation.ts';

/** How many invalidations the log retains. A process that has missed more invalidates everything. */
const CAPACITY = 1000;
const POLL_INTERVAL_MS = 200;

const APPEND = `
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('HSET', KEYS[1], sequence, ARGV[2])
redis.call('HDEL', KEYS[1], sequence - ARGV[3])`;

const READ = readFileSync(new URL('read-invalidations.lua', import.meta.url), 'utf8');
type ReadReply = [epoch: string, sequence: number, ...invalidations: string[]];

type Listener = (invalidation: Invalidation | 'all') => void;

/**
 * The log that all processes poll, so that no lost message can hide an invalidation. Where entries may have been missed
 * (the log was lost, or more were appended than it retains), listeners receive 'all'.
 */
export class RedisInvalidationLog {
  readonly #key: string;
  readonly #append: Script;
  readonly #read: Script;
  readonly #listeners: Listener[] = [];
  #position: { readonly epoch: string; readonly sequence: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;

  constructor(redis: RedisClient) {
    this.#key = redis.key('changes');
    this.#append = redis.defineScript('appendInvalidation', APPEND);
    this.#read = redis.defineScript('readInvalidations', READ);
  }

  /** Epoch of the last position read. Shared entries of another epoch may have missed a purge. */
  get epoch(): string | undefined {
    return this.#position?.epoch;
  }

  /** Rejects with `StoreUnavailableError`. */
  async append(invalidation: Invalidation): Promise<void> {
    await this.#append([this.#key], [randomUUID(), formatInvalidation(invalidation), CAPACITY]);
  }

  /** `listener` must not throw. */
  subscribe(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Starts polling. Resolves after the first poll, even if Redis is unavailable. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#poll(), POLL_INTERVAL_MS).unref();
    await this.#poll();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return;
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
