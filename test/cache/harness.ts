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
export function createHarness<State>(getState: () => State, shared: SharedCache = noSharedCache) {
  const clock = new Clock();
  /** Those that no reader received. */
  const errors: unknown[] = [];
  /** In flight, the oldest first. */
  const requests = new Set<OriginRequest<State>>();
  const cache = new Cache({
    policy: { found: lifetime, not_found: lifetime, uncacheable: lifetime },
    maxBytes: 1_000_000,
    timeoutMs: 1000,
    shared,
    onError: (error) => errors.push(error),
    now: clock.now,
    random: () => 0,
  });

  function send(signal: AbortSignal): Promise<OriginResponse> {
    const request = { ...Promise.withResolvers<OriginResponse>(), state: getState() };
    requests.add(request);
    const abort = () => requests.delete(request) && request.reject(new AbortedError());
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    return request.promise;
  }

  async function takeRequest(): Promise<OriginRequest<State>> {
    await until(() => requests.size > 0);
    const [request] = [...requests] as [OriginRequest<State>];
    requests.delete(request);
    return request;
  }

  const origin = { isValidDocument: () => true, fetch: send };
  return {
    clock,
    errors,
    requests,
    /** Not a promise if the cache serves an entry without I/O. */
    read: (signal = new AbortController().signal) => cache.read(key, () => origin, { signal }),
    invalidate: (mode: InvalidationMode) => cache.invalidate({ ...key, documentId: undefined, mode }),
    /** Both end the oldest request, once there is one. */
    respond: async (data: string) => (await takeRequest()).resolve({ result: createDocument(data), headers: {} }),
    fail: async (error: unknown = new UpstreamFailure('status', 'test')) => (await takeRequest()).reject(error),
  };
}
