import type { Span, SpanContext } from '@opentelemetry/api';
import { AbortedError, type UpstreamFailure } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { ForwardReason } from './cache-status.ts';
import type { Entry } from './entry.ts';
import { type Lease, localLease } from './shared-cache.ts';

/** What a flight brought. `forwarded` says why there was nothing to answer with at its beginning. */
export type FetchResult =
  /** An entry that was there for all gateways. */
  | { readonly kind: 'shared'; readonly entry: Entry }
  /** The campaign service's answer; `isCollapsed`: to another gateway, which this one waited for. */
  | {
      readonly kind: 'fetched';
      readonly forwardReason: ForwardReason;
      readonly result: ReadResult;
      readonly isStored: boolean;
      readonly isCollapsed: boolean;
    }
  /** An answer that is not to be kept: it is for the reader alone whose request caused it. */
  | { readonly kind: 'uncacheable'; readonly forwardReason: ForwardReason; readonly result: ReadResult | undefined }
  /** `stale` is what there is instead, if anything. */
  | { readonly kind: 'failed'; readonly failure: UpstreamFailure; readonly stale: Entry | undefined };

/**
 * One read on behalf of everybody who asks meanwhile (single-flight). Readers come and go; when the last one has gone and
 * nobody else wants the answer, it is given up.
 */
export class SharedFetch {
  /** When it began: see `PurgeMarks`. */
  readonly generation: number;
  /** The right to ask the campaign service, once it has it. */
  lease: Lease = localLease;
  /** Of the asking, where it is recorded. */
  span: Span | undefined;
  /** The span of the gateway that this one waits for. */
  leaderSpan: SpanContext | undefined;
  isSettled = false;
  readonly #result = Promise.withResolvers<FetchResult>();
  readonly #abort = new AbortController();
  readonly #onLastReaderGone: () => Promise<void>;
  #isBackground: boolean;
  #readers = 0;

  /** `isWanted`: the cache wants the answer whether or not a reader waits for it. */
  constructor(generation: number, isBackground: boolean, onDeserted: () => Promise<void>) {
    this.generation = generation;
    this.#isBackground = isBackground;
    this.#onLastReaderGone = onDeserted;
    this.#result.promise.catch(() => {}); // A bug is told to the readers, and there may be none.
  }

  /** Aborted when the flight has been given up. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The landing, for one reader. Rejects with `Abandoned` as soon as `signal` says that the reader has gone. */
  join(signal: AbortSignal): Promise<FetchResult> {
    const reader = Promise.withResolvers<FetchResult>();
    this.#readers++;
    const onReaderGone = () => {
      reader.reject(new AbortedError());
      this.#readers--;
      if (this.#readers === 0 && !this.#isBackground) void this.#onLastReaderGone();
    };
    if (signal.aborted) onReaderGone();
    else signal.addEventListener('abort', onReaderGone, { once: true });
    this.#result.promise
      .finally(() => signal.removeEventListener('abort', onReaderGone))
      .then(reader.resolve, reader.reject);
    return reader.promise;
  }

  /** The first landing counts. After it no reader is waited for: what is still done, the cache wants. */
  resolve(result: FetchResult): void {
    this.isSettled = true;
    this.#isBackground = true;
    this.#result.resolve(result);
  }

  /** Ends it with a bug. */
  fail(error: unknown): void {
    this.isSettled = true;
    this.#result.reject(error);
  }

  abort(): void {
    this.#abort.abort();
  }
}
