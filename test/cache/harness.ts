import { Cache } from '../../src/cache/cache.ts';
import type { InvalidationMode } from '../../src/cache/entry.ts';
import type { Lifetime } from '../../src/cache/freshness.ts';
import { noSharedCache, type SharedCache } from '../../src/cache/shared-cache.ts';
import { AbortedError, UpstreamFailure } from '../../src/upstream/failure.ts';
import type { OriginResponse, ReadResult } from '../../src/upstream/origin.ts';
import { Clock } from '../helpers/clock.ts';
import { until } from '../helpers/wait.ts';

const key = { path: '/campaigns/cmp_1', accountGroupId: 'ag_1', documentId: 'cmp_1' };
export const lifetime: Lifetime = { freshMs: 10_000, staleWhileRevalidateMs: 10_000, staleIfErrorMs: 60_000 };
export const createDocument = (data: string): ReadResult => ({ outcome: 'found', data, etag: '"1"' });

interface OriginRequest<State> extends PromiseWithResolvers<OriginResponse> {
  /** Of the test, when the request was sent. */
  readonly state: State;
}

/** A cache and its readers of one document. The test ends each request to the origin. */
export class CacheHarness<State = undefined> {
  readonly clock = new Clock();
  /** Those that no reader received. */
  readonly errors: unknown[] = [];
  /** In flight, the oldest first. */
  readonly requests = new Set<OriginRequest<State>>();
  readonly #cache: Cache;
  readonly #origin;

  constructor(getState: () => State, shared: SharedCache = noSharedCache) {
    this.#cache = new Cache({
      policy: { found: lifetime, not_found: lifetime, uncacheable: lifetime },
      maxBytes: 1_000_000,
      timeoutMs: 1000,
      shared,
      onError: (error) => this.errors.push(error),
      now: this.clock.now,
      random: () => 0,
    });
    this.#origin = {
      isValidDocument: () => true,
      fetch: (signal: AbortSignal) =>
        this.#send({ ...Promise.withResolvers<OriginResponse>(), state: getState() }, signal),
    };
  }

  #send(request: OriginRequest<State>, signal: AbortSignal): Promise<OriginResponse> {
    this.requests.add(request);
    const abort = () => this.requests.delete(request) && request.reject(new AbortedError());
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    return request.promise;
  }

  lookup() {
    return this.#cache.lookup(key);
  }

  load(signal = new AbortController().signal) {
    return this.#cache.load(key, this.#origin, signal);
  }

  refresh(): void {
    this.#cache.refresh(key, this.#origin);
  }

  invalidate(mode: InvalidationMode): void {
    this.#cache.invalidate({ accountGroupId: key.accountGroupId, documentId: undefined, mode });
  }

  /** Ends the oldest request, once there is one. */
  async respond(data: string): Promise<void> {
    (await this.#takeRequest()).resolve({ result: createDocument(data), headers: {} });
  }

  /** Ends the oldest request, once there is one. */
  async fail(error: unknown = new UpstreamFailure('status', 'test')): Promise<void> {
    (await this.#takeRequest()).reject(error);
  }

  async #takeRequest(): Promise<OriginRequest<State>> {
    await until(() => this.requests.size > 0);
    const [request] = [...this.requests] as [OriginRequest<State>];
    this.requests.delete(request);
    return request;
  }
}
