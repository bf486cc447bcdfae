import { checkAgainstOpenApi } from '../../helpers/openapi-contract.ts';
import { until } from '../../helpers/wait.ts';

/** In epoch milliseconds. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

export interface PlannedRequest {
  readonly path: string;
  readonly key?: string | undefined;
  readonly method?: 'GET' | 'HEAD' | 'DELETE';
  /** Whether to send the latest entity tag of the path as `If-None-Match`. */
  readonly isConditional?: boolean;
  /** The status, unless it depends on the campaign. */
  readonly expectedStatus?: number;
}

/** A request with its response, from the request's start to the response's end. */
export interface Observation extends PlannedRequest, Interval {
  /** 0: no response of a gateway, or one that contradicts the request or the OpenAPI document. */
  readonly status: number;
  /** The version of the campaign in the response, or that a 304 confirms. */
  readonly version?: number | undefined;
  readonly isStale?: boolean;
  readonly problem?: string;
}

/** Sends 200 requests per second, or fewer on a slow machine, each on a new connection. */
export class Traffic {
  readonly observations: Observation[] = [];
  readonly #url: string;
  readonly #timer: NodeJS.Timeout;
  /** By path, the latest entity tag and its version. */
  readonly #latest = new Map<string, { etag: string; version: number | undefined }>();
  #inFlight = 0;

  constructor(url: string, next: () => PlannedRequest) {
    this.#url = url;
    this.#timer = setInterval(() => {
      if (this.#inFlight < 50) void this.#send(next());
    }, 5);
  }

  /** Waits for `count` more observations. */
  async more(count: number): Promise<void> {
    const target = this.observations.length + count;
    await until(() => this.observations.length >= target);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await until(() => this.#inFlight === 0);
  }

  async #send(planned: PlannedRequest): Promise<void> {
    this.#inFlight++;
    const from = Date.now();
    const response = await this.#exchange(planned).catch((error) => ({ status: 0, problem: String(error) }));
    this.observations.push({ ...planned, ...response, from, to: Date.now() });
    this.#inFlight--;
  }

  async #exchange({ path, key = '', method = 'GET', isConditional = false }: PlannedRequest) {
    const sent = isConditional ? this.#latest.get(path) : undefined;
    const headers = { connection: 'close', 'x-api-key': key, 'if-none-match': sent?.etag ?? '' };
    const signal = AbortSignal.timeout(20_000); // Longer than nginx waits for a gateway.
    const response = await fetch(this.#url + path, { method, headers, signal });
    const body = await response.text();
    const header = (name: string) => response.headers.get(name);
    const { status } = response;
    // nginx made the response. At this load no gateway sends a 503.
    if (status === 503 || !header('x-trace-id')) throw new Error('no gateway responded');
    checkAgainstOpenApi({ method, path, status, header, headerNames: [], body });

    const etag = header('etag') ?? '';
    if ((status === 304) !== (sent?.etag === etag)) throw new Error('If-None-Match is evaluated wrongly');
    const version = status === 304 ? sent?.version : parseVersion(body);
    if (version !== undefined) this.#latest.set(path, { etag, version });
    return { status, version, isStale: /; ttl=-/.test(header('cache-status') ?? '') };
  }
}

/** The number in the name of a campaign; undefined without a campaign. */
function parseVersion(body: string): number | undefined {
  const [, version] = /"name":"v(\d+)"/.exec(body) ?? [];
  return version === undefined ? undefined : Number(version);
}
