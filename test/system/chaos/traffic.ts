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
  /** 0: no response of a gateway. */
  readonly status: number;
  /** The version of the campaign in the response, or that a 304 confirms. */
  readonly version?: number | undefined;
  readonly isStale?: boolean;
  /** How the response contradicts the request or the OpenAPI document. */
  readonly problem?: string;
}

interface Representation {
  readonly etag: string;
  readonly version: number | undefined;
}

interface Received {
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly body: string;
}

/** Sends 200 requests per second, or fewer on a slow machine, each on a new connection. */
export class Traffic {
  readonly observations: Observation[] = [];
  readonly #url: string;
  readonly #timer: NodeJS.Timeout;
  /** By path, the latest entity tag and its version. */
  readonly #latest = new Map<string, Representation>();
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
    const sent = planned.isConditional ? this.#latest.get(planned.path) : undefined;
    const received = await this.#fetch(planned, sent?.etag ?? '').catch(() => undefined);
    const observed = received ? this.#observe(planned, sent, received) : { status: 0 };
    this.observations.push({ ...planned, ...observed, from, to: Date.now() });
    this.#inFlight--;
  }

  /** Undefined if nginx made the response. At this load no gateway sends a 503. */
  async #fetch({ path, key = '', method = 'GET' }: PlannedRequest, etag: string) {
    const headers = { connection: 'close', 'x-api-key': key, 'if-none-match': etag };
    const signal = AbortSignal.timeout(20_000); // Longer than nginx waits for a gateway.
    const response = await fetch(this.#url + path, { method, headers, signal });
    const body = await response.text();
    const header = (name: string) => response.headers.get(name);
    return response.status !== 503 && header('x-trace-id') ? { status: response.status, header, body } : undefined;
  }

  #observe({ path, method = 'GET' }: PlannedRequest, sent: Representation | undefined, received: Received) {
    const { status, header, body } = received;
    try {
      checkAgainstOpenApi({ method, path, status, header, headerNames: [], body });
      const etag = header('etag') ?? '';
      if ((status === 304) !== (sent?.etag === etag)) throw new Error('If-None-Match is evaluated wrongly');
      const version = status === 304 ? sent?.version : parseVersion(body);
      if (version !== undefined) this.#latest.set(path, { etag, version });
      return { status, version, isStale: /; ttl=-/.test(header('cache-status') ?? '') };
    } catch (error) {
      return { status, problem: String(error) };
    }
  }
}

/** The number in the name of a campaign; undefined without a campaign. */
function parseVersion(body: string): number | undefined {
  const [, version] = /"name":"v(\d+)"/.exec(body) ?? [];
  return version === undefined ? undefined : Number(version);
}
