import type { CacheInvalidation, CacheKey } from './entry.ts';

/** When more scopes are recorded, the oldest invalidation applies to every scope. */
const MAX_SCOPES = 10_000;

/** `stale`: a soft invalidation came `since`. `purged`: a hard one came. */
type Validity =
  | { readonly state: 'current' }
  | { readonly state: 'purged' }
  | { readonly state: 'stale'; readonly since: number };

const CURRENT: Validity = { state: 'current' };
const PURGED: Validity = { state: 'purged' };

/** The last invalidations of one scope. */
interface Marks {
  readonly hardGeneration: number;
  readonly softGeneration: number;
  readonly softAt: number;
}

const NO_MARKS: Marks = { hardGeneration: 0, softGeneration: 0, softAt: 0 };

/**
 * Tracks which entries and fetches predate an invalidation. Each invalidation starts a new generation. An entry carries the
 * generation in which its fetch began, and is invalid if a matching invalidation has a later one. The cost of an
 * invalidation does not depend on the number of entries in its scope.
 */
export class InvalidationTracker {
  readonly #scopes = new Map<string, Marks>();
  #everything = NO_MARKS;
  #generation = 0;

  /** Read it when a fetch begins. */
  get generation(): number {
    return this.#generation;
  }

  check({ accountGroupId, documentId }: CacheKey, generation: number): Validity {
    if (generation === this.#generation) return CURRENT;
    const group = this.#scopes.get(accountGroupId);
    const document = this.#scopes.get(`${accountGroupId}/${documentId}`);
    let since = Number.POSITIVE_INFINITY;
    for (const marks of [this.#everything, group, document]) {
      if (!marks) continue;
      if (generation < marks.hardGeneration) return PURGED;
      if (generation < marks.softGeneration) since = Math.min(since, marks.softAt);
    }
    return since === Number.POSITIVE_INFINITY ? CURRENT : { state: 'stale', since };
  }

  isPurged(key: CacheKey, generation: number): boolean {
    return this.check(key, generation).state === 'purged';
  }

  /** `at`: now, on the clock of the cache. */
  record(invalidation: CacheInvalidation | 'all', at: number): void {
    const generation = ++this.#generation;
    if (invalidation === 'all') {
      this.#everything = { ...NO_MARKS, hardGeneration: generation };
      this.#scopes.clear();
      return;
    }
    const { accountGroupId, documentId, mode } = invalidation;
    const scope = documentId === undefined ? accountGroupId : `${accountGroupId}/${documentId}`;
    const previous = this.#scopes.get(scope) ?? NO_MARKS;
    this.#scopes.delete(scope); // The map is ordered by the last invalidation.
    const change = mode === 'hard' ? { hardGeneration: generation } : { softGeneration: generation, softAt: at };
    this.#scopes.set(scope, { ...previous, ...change });
    if (this.#scopes.size > MAX_SCOPES) this.#dropOldest();
  }

  #dropOldest(): void {
    const [oldest] = this.#scopes;
    if (!oldest) return;
    const [scope, marks] = oldest;
    this.#scopes.delete(scope);
    const soft = marks.softGeneration > this.#everything.softGeneration ? marks : this.#everything;
    const hardGeneration = Math.max(marks.hardGeneration, this.#everything.hardGeneration);
    this.#everything = { ...soft, hardGeneration };
  }
}
