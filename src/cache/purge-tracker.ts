import type { CacheKey, PurgeScope } from './entry.ts';

/** Past so many marks everything counts as purged and the marks are forgotten. */
const MAX_SCOPES = 10_000;

/**
 * Which entries and fetches a purge has overtaken. Each purge is a moment (a count) and a mark that costs the same for a
 * campaign and for an account group with any number of them; what was asked for before its mark is not used after it.
 */
export class PurgeTracker {
  readonly #purgedAt = new Map<string, number>();
  #allPurgedAt = 0;
  #generation = 0;

  /** The moment of asking: it goes with whatever comes of it. */
  get generation(): number {
    return this.#generation;
  }

  isPurged({ accountGroupId, campaignId }: CacheKey, generation: number): boolean {
    if (generation < this.#allPurgedAt) return true;
    if (this.#purgedAt.size === 0) return false;
    return (
      generation < (this.#purgedAt.get(accountGroupId) ?? 0) ||
      (campaignId !== undefined && generation < (this.#purgedAt.get(`${accountGroupId}/${campaignId}`) ?? 0))
    );
  }

  record({ accountGroupId, campaignId }: PurgeScope): void {
    if (this.#purgedAt.size >= MAX_SCOPES) this.purgeAll();
    this.#generation++;
    this.#purgedAt.set(campaignId === undefined ? accountGroupId : `${accountGroupId}/${campaignId}`, this.#generation);
  }

  purgeAll(): void {
    this.#generation++;
    this.#allPurgedAt = this.#generation;
    this.#purgedAt.clear();
  }
}
