import { setTimeout as pause } from 'node:timers/promises';
import type { Origin } from '../upstream/origin.ts';
import type { CacheKey } from './entry.ts';
import { EntryLoader, type EntryLoaderOptions } from './entry-loader.ts';
import type { LocalCache } from './local-cache.ts';
import { SharedFetch } from './shared-fetch.ts';

export interface SingleFlightOptions extends EntryLoaderOptions {
  /** Receives every unexpected error (a bug) that no reader receives, such as one in a background refresh. */
  readonly onError: (error: unknown) => void;
}

const DESERTED_POLL_MS = 100;

/** The fetches in flight: at most one for each document, unless a purge made an earlier one unusable. */
export class SingleFlight {
  readonly #local: LocalCache;
  readonly #loader: EntryLoader;
  readonly #onError: (error: unknown) => void;
  readonly #inFlight = new Map<string, SharedFetch>();

  constructor(local: LocalCache, options: SingleFlightOptions) {
    this.#local = local;
    this.#loader = new EntryLoader(local, options);
    this.#onError = options.onError;
  }

  /** Returns the fetch in flight, if it has no result yet and began after the last purge of the key. */
  findJoinable(key: CacheKey): SharedFetch | undefined {
    const fetch = this.#findCurrent(key);
    return fetch?.isSettled ? undefined : fetch;
  }

  /** Starts a fetch for a reader. */
  start(key: CacheKey, origin: Origin): SharedFetch {
    return this.#start(key, origin, false);
  }

  /** Starts a background fetch unless one is in flight. */
  refresh(key: CacheKey, origin: Origin): void {
    if (!this.#findCurrent(key)) this.#start(key, origin, true);
  }

  #findCurrent(key: CacheKey): SharedFetch | undefined {
    const fetch = this.#inFlight.get(key.path);
    return fetch && !this.#local.isPurged(key, fetch.generation) ? fetch : undefined;
  }

  #start(key: CacheKey, origin: Origin, isBackground: boolean): SharedFetch {
    const remove = () => {
      if (this.#inFlight.get(key.path) === fetch) this.#inFlight.delete(key.path);
    };
    const fail = (error: unknown) => {
      if (!fetch.fail(error)) this.#onError(error);
    };
    const onDeserted = () => {
      remove();
      abortWhenUnwatched(fetch).catch(fail);
    };
    const fetch = new SharedFetch({ key, origin, generation: this.#local.generation, isBackground, onDeserted });
    this.#inFlight.set(key.path, fetch);
    this.#loader.load(fetch).catch(fail).finally(remove);
    return fetch;
  }
}

/** Aborts a fetch without readers as soon as no other gateway waits for it either. */
async function abortWhenUnwatched(fetch: SharedFetch): Promise<void> {
  while (!fetch.isSettled) {
    if (await fetch.lease.releaseIfUnwatched()) return fetch.abort();
    await pause(DESERTED_POLL_MS);
  }
}
