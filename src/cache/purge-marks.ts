import type { CacheKey, Purge } from './entry.ts';

/** Past so many marks everything counts as purged and the marks are forgotten. */
const MAX_MARKS = 10_000;

/**
 * Which entries and fetches a purge has overtaken. Each purge is a moment (a count) and a mark that costs the same for a
 * campaign and for an account group with any number of them; what was asked for before its mark is not used after it.
 */
export class PurgeMarks {
  readonly #marks = new Map<string, number>();
  #everything = 0;
  #now = 0;

  /** The moment of asking: it goes with whatever comes of it. */
  get generation(): number {
    return this.#now;
  }

  isPurged({ accountGroupId, campaignId }: CacheKey, generation: number): boolean {
    if (generation < this.#everything) return true;
    if (this.#marks.size === 0) return false;
    return (
      generation < (this.#marks.get(accountGroupId) ?? 0) ||
      (campaignId !== undefined && generation < (this.#marks.get(`${accountGroupId}/${campaignId}`) ?? 0))
    );
  }

  mark({ accountGroupId, campaignId }: Purge): void {
    if (this.#marks.size >= MAX_MARKS) this.markEverything();
    this.#now++;
    this.#marks.set(campaignId === undefined ? accountGroupId : `${accountGroupId}/${campaignId}`, this.#now);
  }

  markEverything(): void {
    this.#now++;
    this.#everything = this.#now;
    this.#marks.clear();
  }
}
