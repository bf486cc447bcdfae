import type { CacheKey, PurgeScope } from './entry.ts';

/** When this many scopes are recorded, everything is purged and the scopes are dropped. */
const MAX_SCOPES = 10_000;

/**
 * Tracks which entries and fetches predate a purge. Each purge starts a new generation. An entry carries the generation
 * in which its fetch began, and is purged if a matching purge has a later one. The cost of a purge does not depend on
 * the number of entries in its scope.
 */
export class PurgeTracker {
  readonly #purgedAt = new Map<string, number>();
  #allPurgedAt = 0;
  #generation = 0;

  /** Read it when a fetch begins. */
  get generation(): number {
    return this.#generation;
  }

  isPurged({ accountGroupId, documentId }: CacheKey, generation: number): boolean {
    if (generation < this.#allPurgedAt) return true;
    if (this.#purgedAt.size === 0) return false;
    return (
      generation < (this.#purgedAt.get(accountGroupId) ?? 0) ||
      generation < (this.#purgedAt.get(`${accountGroupId}/${documentId}`) ?? 0)
    );
  }

  record(scope: PurgeScope | 'all'): void {
    this.#generation++;
    if (scope === 'all' || this.#purgedAt.size >= MAX_SCOPES) {
      this.#allPurgedAt = this.#generation;
      this.#purgedAt.clear();
    } else {
      const { accountGroupId, documentId } = scope;
      this.#purgedAt.set(
        documentId === undefined ? accountGroupId : `${accountGroupId}/${documentId}`,
        this.#generation,
      );
    }
  }
}
