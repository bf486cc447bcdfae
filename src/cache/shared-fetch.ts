import type { Span, SpanContext } from '@opentelemetry/api';
import { AbortedError, type UpstreamFailure } from '../upstream/failure.ts';
import type { Origin, ReadResult } from '../upstream/origin.ts';
import type { ForwardReason } from './cache-status.ts';
import type { CacheKey, Entry } from './entry.ts';
import { type Lease, localLease } from './shared-cache.ts';

export type FetchResult =
  /** An entry that another gateway had stored before, or a stale one that may be served while it is refreshed. */
  | { readonly kind: 'stored'; readonly entry: Entry }
  /** A response of the origin. `isCollapsed`: another gateway fetched it, and this one waited. */
  | {
      readonly kind: 'fetched';
      readonly forwardReason: ForwardReason;
      readonly result: ReadResult;
      readonly isStored: boolean;
      readonly isCollapsed: boolean;
    }
  /** A response that must not be shared: only the reader that started the fetch may use `result`. */
  | { readonly kind: 'uncacheable'; readonly forwardReason: ForwardReason; readonly result: ReadResult | undefined }
  /** `stale` is the entry that may be served instead, if there is one. */
  | { readonly kind: 'failed'; readonly failure: UpstreamFailure; readonly stale: Entry | undefined };

export interface SharedFetchOptions {
  readonly key: CacheKey;
  readonly origin: Origin;
  /** Purge generation when the fetch began: see `PurgeTracker`. */
  readonly generation: number;
  /** A background refresh continues without readers. */
  readonly isBackground: boolean;
  /** Called when the last reader of an unsettled foreground fetch has left. */
  readonly onDeserted: () => void;
}

/** One fetch of a document for every reader that requests it while the fetch is in flight. */
export class SharedFetch {
  readonly key: CacheKey;
  readonly origin: Origin;
  readonly generation: number;
  lease: Lease = localLease;
  /** Span of the request to the origin, if this gateway sends it. */
  span: Span | undefined;
  /** Span of the gateway that fetches, if this one waits for it. */
  leaderSpan: SpanContext | undefined;
  isSettled = false;
  readonly #options: SharedFetchOptions;
  readonly #result = Promise.withResolvers<FetchResult>();
  readonly #abort = new AbortController();
  #readers = 0;

  constructor(options: SharedFetchOptions) {
    this.key = options.key;
    this.origin = options.origin;
    this.generation = options.generation;
    this.#options = options;
    this.#result.promise.catch(() => {}); // See `fail`: the caller reports an error that no reader receives.
  }

  /** Aborted when nobody needs the result any more. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Waits for the result. Rejects with `AbortedError` when `signal` reports that the reader has left. */
  join(signal: AbortSignal): Promise<FetchResult> {
    const reader = Promise.withResolvers<FetchResult>();
    this.#readers++;
    const onReaderGone = () => {
      reader.reject(new AbortedError());
      this.#readers--;
      if (this.#readers === 0 && !this.isSettled && !this.#options.isBackground) this.#options.onDeserted();
    };
    if (signal.aborted) onReaderGone();
    else signal.addEventListener('abort', onReaderGone, { once: true });
    this.#result.promise
      .finally(() => signal.removeEventListener('abort', onReaderGone))
      .then(reader.resolve, reader.reject);
    return reader.promise;
  }

  /** Gives readers the result. Only the first result counts: a fetch may continue to refresh after a stale one. */
  resolve(result: FetchResult): void {
    this.isSettled = true;
    this.#result.resolve(result);
  }

  /** Rejects the readers with an unexpected error. Returns false if no reader receives it. */
  fail(error: unknown): boolean {
    const isReceived = !this.isSettled && this.#readers > 0;
    this.isSettled = true;
    this.#result.reject(error);
    return isReceived;
  }

  abort(): void {
    this.#abort.abort();
  }
}
