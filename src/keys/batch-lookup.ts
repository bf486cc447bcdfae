import { setTimeout as pause } from 'node:timers/promises';
import type { KeyStore } from './key-store.ts';

const BATCH_WINDOW_MS = 100;
const MAX_BATCH = 1000;

/**
 * Checks whether keys exist, in batches: one store call every 100 ms for at most 1,000 ids. Ids beyond that count as
 * unknown. A flood of forged keys therefore costs the store at most ten calls a second.
 */
export class BatchLookup {
  readonly #store: Pick<KeyStore, 'filterExisting'>;
  #ids = new Set<string>();
  #pending: Promise<ReadonlySet<string>> | undefined;

  constructor(store: Pick<KeyStore, 'filterExisting'>) {
    this.#store = store;
  }

  async exists(id: string): Promise<boolean> {
    if (this.#ids.size >= MAX_BATCH && !this.#ids.has(id)) return false;
    this.#ids.add(id);
    this.#pending ??= pause(BATCH_WINDOW_MS).then(() => this.#send());
    return (await this.#pending).has(id);
  }

  #send(): Promise<ReadonlySet<string>> {
    const ids = [...this.#ids];
    this.#ids = new Set();
    this.#pending = undefined;
    return this.#store.filterExisting(ids);
  }
}
