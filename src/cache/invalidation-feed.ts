import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { Invalidation } from './invalidation.ts';
import { LOG_CAPACITY, type RedisInvalidationLog } from './redis-invalidation-log.ts';

const POLL_INTERVAL_MS = 200;

type Listener = (invalidation: Invalidation | 'all') => void;

/**
 * Polls the invalidation log, so that no lost message can hide an invalidation. Where entries may have been missed (the
 * log was lost, or more were appended than it retains), listeners receive 'all'.
 */
export class InvalidationFeed {
  readonly #log: Pick<RedisInvalidationLog, 'position' | 'read' | 'startNewEpoch'>;
  readonly #listeners: Listener[] = [];
  #position: { readonly epoch: string; readonly sequence: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;

  constructor(log: Pick<RedisInvalidationLog, 'position' | 'read' | 'startNewEpoch'>) {
    this.#log = log;
  }

  /** Epoch of the last position read. Shared entries of another epoch may have missed a purge. */
  get epoch(): string | undefined {
    return this.#position?.epoch;
  }

  /** `listener` must not throw. */
  subscribe(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Resolves after the first poll, even if Redis is unavailable. */
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
      for (const invalidation of await this.#readNew()) {
        for (const listener of this.#listeners) listener(invalidation);
      }
    } catch (error) {
      // The client logs that Redis is unavailable, and the next poll starts at the same position.
      if (!(error instanceof StoreUnavailableError)) throw error;
    } finally {
      this.#isPolling = false;
    }
  }

  async #readNew(): Promise<readonly (Invalidation | 'all')[]> {
    const previous = this.#position;
    const position = await this.#log.position();
    if (previous && position.epoch === previous.epoch && position.sequence < previous.sequence) {
      // Redis was restored to an earlier state. Entries in it may have been purged since.
      await this.#log.startNewEpoch();
      this.#position = await this.#log.position();
      return ['all'];
    }
    if (!previous || position.epoch !== previous.epoch || position.sequence - previous.sequence > LOG_CAPACITY) {
      this.#position = position;
      return ['all'];
    }
    if (position.sequence === previous.sequence) return [];
    const invalidations = await this.#log.read(previous.sequence + 1, position.sequence);
    this.#position = position;
    return invalidations.every((invalidation) => invalidation !== undefined) ? invalidations : ['all'];
  }
}
