import { setTimeout as pause } from 'node:timers/promises';
import { type FailureReason, UpstreamFailure } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { Entry } from './entry.ts';
import type { LocalCache } from './local-cache.ts';
import { OriginFetcher, type OriginFetcherOptions } from './origin-fetcher.ts';
import { type LookupOptions, type SharedCache, type SharedEntry, toLocalEntry } from './shared-cache.ts';
import type { FetchResult, SharedFetch } from './shared-fetch.ts';

export interface EntryLoaderOptions extends OriginFetcherOptions {
  readonly shared: SharedCache;
}

/** While waiting for a leader, the poll interval is this share of the time waited, between the two bounds. */
const POLL_BACKOFF = 1 / 8;
const MIN_POLL_MS = 4;
const MAX_POLL_MS = 100;
/** How much longer than the origin timeout a gateway waits for a leader. */
const LEADER_GRACE_MS = 1000;

/** Carries out a fetch: looks in the shared cache, waits for the gateway that holds the lease, or fetches from the origin. */
export class EntryLoader {
  readonly #local: LocalCache;
  readonly #options: EntryLoaderOptions;
  readonly #originFetcher: OriginFetcher;

  constructor(local: LocalCache, options: EntryLoaderOptions) {
    this.#local = local;
    this.#options = options;
    this.#originFetcher = new OriginFetcher(local, options);
  }

  /** Resolves when everything is done, which may be after `fetch` has its result. Rejects only on a bug. */
  async load(fetch: SharedFetch): Promise<void> {
    const { isValidDocument } = fetch.origin;
    const startedAt = this.#local.now();
    let local = withoutUncacheable(this.#local.get(fetch.key));
    let options: LookupOptions = { isValidDocument };
    while (!fetch.signal.aborted) {
      const lookup = await this.#options.shared.lookup(fetch.key, options);
      switch (lookup.state) {
        case 'fresh': {
          const entry = toLocalEntry(lookup.entry, fetch.generation, this.#local.now());
          if (!this.#isOlderThanLocal(entry, local)) {
            return this.#resolveWithStored(fetch, entry, local, options.leader !== undefined);
          }
          options = { isValidDocument, skipStored: true };
          break;
        }
        case 'granted':
          local = this.#serveStaleIfAllowed(fetch, local, lookup.entry);
          return this.#originFetcher.fetch(fetch, lookup.lease, local);
        case 'held':
          local = this.#serveStaleIfAllowed(fetch, local, lookup.entry);
          if (fetch.isSettled) return; // The leader refreshes the entry.
          if (!(await this.#pauseForLeader(startedAt))) return failAsFollower(fetch, 'timeout', local);
          options = { isValidDocument, leader: lookup.leader };
          fetch.leaderSpan = lookup.leaderSpan;
          break;
        case 'leader_failed':
          return failAsFollower(fetch, lookup.reason, local);
        case 'leader_result':
          return fetch.resolve(toCollapsedResult(local, lookup.result, false));
      }
    }
  }

  /** Resolves to false when the leader has taken too long. */
  async #pauseForLeader(startedAt: number): Promise<boolean> {
    const waitedMs = this.#local.now() - startedAt;
    if (waitedMs > this.#options.timeoutMs + LEADER_GRACE_MS) return false;
    await pause(Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, waitedMs * POLL_BACKOFF)));
    return true;
  }

  /** Returns the newer of the two entries. Gives it to readers at once if it may be served while it is revalidated. */
  #serveStaleIfAllowed(
    fetch: SharedFetch,
    local: Entry | undefined,
    shared: SharedEntry | undefined,
  ): Entry | undefined {
    const entry = selectNewer(
      local,
      withoutUncacheable(shared && toLocalEntry(shared, fetch.generation, this.#local.now())),
    );
    if (entry && this.#local.getFreshness(entry) === 'stale_while_revalidate') {
      this.#resolveWithStored(fetch, entry, undefined, false);
    }
    return entry;
  }

  /** Whether this process has a newer entry that is already stale. Then a fresh shared one must not revive old content. */
  #isOlderThanLocal(shared: Entry, local: Entry | undefined): boolean {
    return (
      local !== undefined && local.originatedAt > shared.originatedAt && this.#local.getFreshness(local) !== 'fresh'
    );
  }

  #resolveWithStored(fetch: SharedFetch, entry: Entry, local: Entry | undefined, hasWaited: boolean): void {
    const isStored = this.#local.store(fetch.key, entry);
    const { content } = entry;
    if (content.outcome === 'uncacheable') {
      fetch.resolve({ kind: 'uncacheable', forwardReason: 'uri-miss', result: undefined });
    } else {
      fetch.resolve(hasWaited ? toCollapsedResult(local, content, isStored) : { kind: 'stored', entry });
    }
  }
}

function failAsFollower(fetch: SharedFetch, reason: FailureReason, stale: Entry | undefined): void {
  fetch.resolve({ kind: 'failed', failure: new UpstreamFailure(reason, 'fetched by another gateway'), stale });
}

/** A hit-for-miss marker is no stale document. */
function withoutUncacheable(entry: Entry | undefined): Entry | undefined {
  return entry?.content.outcome === 'uncacheable' ? undefined : entry;
}

function selectNewer(a: Entry | undefined, b: Entry | undefined): Entry | undefined {
  return a && b && a.originatedAt > b.originatedAt ? a : (b ?? a);
}

function toCollapsedResult(local: Entry | undefined, result: ReadResult, isStored: boolean): FetchResult {
  return { kind: 'fetched', forwardReason: local ? 'stale' : 'uri-miss', result, isStored, isCollapsed: true };
}
