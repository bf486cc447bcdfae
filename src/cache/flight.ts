import type { Span, SpanContext } from '@opentelemetry/api';
import type { ReadResult } from '../exchange.ts';
import { type Lease, unsharedLease } from '../stores/cache/shared-entries.ts';
import { Abandoned, type UpstreamFailure } from '../upstream/failure.ts';
import type { Forwarded } from './cache-status.ts';
import type { Entry } from './entry.ts';

/** What a flight brought. `forwarded` says why there was nothing to answer with at its beginning. */
export type Landing =
  /** An entry that was there for all gateways. */
  | { readonly kind: 'shared'; readonly entry: Entry }
  /** The campaign service's answer; `isCollapsed`: to another gateway, which this one waited for. */
  | {
      readonly kind: 'fetched';
      readonly forwarded: Forwarded;
      readonly result: ReadResult;
      readonly isStored: boolean;
      readonly isCollapsed: boolean;
    }
  /** An answer that is not to be kept: it is for the reader alone whose request caused it. */
  | { readonly kind: 'uncacheable'; readonly forwarded: Forwarded; readonly result: ReadResult | undefined }
  /** `stale` is what there is instead, if anything. */
  | { readonly kind: 'failed'; readonly failure: UpstreamFailure; readonly stale: Entry | undefined };

/**
 * One read on behalf of everybody who asks meanwhile (single-flight). Readers come and go; when the last one has gone and
 * nobody else wants the answer, it is given up.
 */
export class Flight {
  /** When it began: see `PurgeMarks`. */
  readonly generation: number;
  /** The right to ask the campaign service, once it has it. */
  lease: Lease = unsharedLease;
  /** Of the asking, where it is recorded. */
  span: Span | undefined;
  /** The span of the gateway that this one waits for. */
  askedBy: SpanContext | undefined;
  hasLanded = false;
  readonly #landing = Promise.withResolvers<Landing>();
  readonly #abort = new AbortController();
  readonly #onDeserted: () => Promise<void>;
  #isWanted: boolean;
  #readers = 0;

  /** `isWanted`: the cache wants the answer whether or not a reader waits for it. */
  constructor(generation: number, isWanted: boolean, onDeserted: () => Promise<void>) {
    this.generation = generation;
    this.#isWanted = isWanted;
    this.#onDeserted = onDeserted;
    this.#landing.promise.catch(() => {}); // A bug is told to the readers, and there may be none.
  }

  /** Aborted when the flight has been given up. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The landing, for one reader. Rejects with `Abandoned` as soon as `signal` says that the reader has gone. */
  wait(signal: AbortSignal): Promise<Landing> {
    const reader = Promise.withResolvers<Landing>();
    this.#readers++;
    const leave = () => {
      reader.reject(new Abandoned());
      this.#readers--;
      if (this.#readers === 0 && !this.#isWanted) void this.#onDeserted();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    this.#landing.promise.finally(() => signal.removeEventListener('abort', leave)).then(reader.resolve, reader.reject);
    return reader.promise;
  }

  /** The first landing counts. After it no reader is waited for: what is still done, the cache wants. */
  land(landing: Landing): void {
    this.hasLanded = true;
    this.#isWanted = true;
    this.#landing.resolve(landing);
  }

  /** Ends it with a bug. */
  crash(error: unknown): void {
    this.hasLanded = true;
    this.#landing.reject(error);
  }

  giveUp(): void {
    this.#abort.abort();
  }
}
