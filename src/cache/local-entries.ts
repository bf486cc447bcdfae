import type { UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey, Entry, Purge } from './entry.ts';
import { type Freshness, freshnessOf, usefulMs } from './freshness.ts';
import { MemoryEntries } from './memory-entries.ts';
import { PurgeMarks } from './purge-marks.ts';

/** A stale entry whose refresh has failed is left alone for as long as the failure took, but no longer than this. */
const MAX_PAUSE_MS = 10_000;
/** And one that can be served meanwhile, no shorter than this. */
const REST_MS = 1000;

/** What this process has of its own: entries, the purges that have overtaken some of them, and refreshes that have failed. */
export class LocalEntries {
  readonly #entries: MemoryEntries;
  readonly #marks = new PurgeMarks();
  readonly #failed = new WeakMap<
    Entry,
    { readonly at: number; readonly tookMs: number; readonly failure: UpstreamFailure }
  >();
  readonly now: () => number;

  constructor(maxBytes: number, now: () => number) {
    this.#entries = new MemoryEntries(maxBytes);
    this.now = now;
  }

  get size(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#entries.count, bytes: this.#entries.bytes };
  }

  /** The moment of asking: what comes of it is kept under this number, unless a purge comes between. */
  get generation(): number {
    return this.#marks.generation;
  }

  isPurged(key: CacheKey, generation: number): boolean {
    return this.#marks.isPurged(key, generation);
  }

  purge(purge: Purge | 'everything'): void {
    if (purge === 'everything') this.#marks.markEverything();
    else this.#marks.mark(purge);
  }

  /** Whatever its age. */
  get(key: CacheKey): Entry | undefined {
    const entry = this.#entries.get(key.path);
    return entry && !this.#marks.isPurged(key, entry.generation) ? entry : undefined;
  }

  /** Puts an entry in the place of the one before; whether there was room, use and right for it. */
  keep(key: CacheKey, entry: Entry): boolean {
    if (this.#marks.isPurged(key, entry.generation)) return false;
    if (usefulMs(entry.lifetime) > this.ageMs(entry)) return this.#entries.set(key.path, entry);
    this.#entries.delete(key.path);
    return false;
  }

  drop(key: CacheKey, entry: Entry): void {
    if (this.#entries.get(key.path) === entry) this.#entries.delete(key.path);
  }

  ageMs(entry: Entry): number {
    return this.now() - entry.bornAt;
  }

  freshnessOf(entry: Entry): Freshness {
    return freshnessOf(entry.lifetime, this.ageMs(entry));
  }

  noteFailure(entry: Entry, failure: UpstreamFailure, tookMs: number): void {
    this.#failed.set(entry, { at: this.now(), tookMs, failure });
  }

  /** The failure of its last refresh, while it is too early for another that a reader would have to wait for. */
  recentFailure(entry: Entry): UpstreamFailure | undefined {
    const failed = this.#failed.get(entry);
    return failed && this.now() - failed.at < Math.min(failed.tookMs, MAX_PAUSE_MS) ? failed.failure : undefined;
  }

  /** Whether it is too early for another refresh that nobody waits for. */
  isResting(entry: Entry): boolean {
    const failed = this.#failed.get(entry);
    return failed !== undefined && this.now() - failed.at < Math.max(REST_MS, Math.min(failed.tookMs, MAX_PAUSE_MS));
  }
}
