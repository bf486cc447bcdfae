import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { until } from '../../helpers/wait.ts';
import type { PlannedRequest } from './requests.ts';

/** In epoch milliseconds of the test's clock. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** A request with its response, from the request's start to the response's end. */
export interface Observation extends PlannedRequest, Interval {
  readonly ifNoneMatch: string | undefined;
  /** 0: no response. */
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly body: string;
}

const noResponse: Exchange = { status: 0, headers: {}, body: '' };

export const overlaps = (a: Interval, b: Interval): boolean => a.from <= b.to && b.from <= a.to;

interface Exchange {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends 200 requests per second, or fewer on a slow machine, each on a new connection, and records the responses. */
export class LoadGenerator {
  readonly observations: Observation[] = [];
  readonly #url: string;
  readonly #timer: NodeJS.Timeout;
  /** The latest entity tag of each path. */
  readonly #etags = new Map<string, string>();
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
    const ifNoneMatch = planned.isConditional ? this.#etags.get(planned.path) : undefined;
    const exchanged = await this.#exchange(planned, ifNoneMatch).catch(() => noResponse);
    const { status, headers, body } = exchanged;
    const header = (name: string) => headers[name.toLowerCase()]?.toString() ?? null;
    this.observations.push({ ...planned, ifNoneMatch, from, to: Date.now(), status, header, body });
    if (status === 200) this.#etags.set(planned.path, header('etag') ?? '');
    this.#inFlight--;
  }

  async #exchange({ client, method, path }: PlannedRequest, ifNoneMatch = ''): Promise<Exchange> {
    const headers = { 'x-api-key': client.key ?? '', 'if-none-match': ifNoneMatch };
    const signal = AbortSignal.timeout(20_000); // Longer than nginx waits for a gateway.
    const options = { agent: false, method, localAddress: client.address, headers, signal };
    const [response] = await once(httpRequest(this.#url + path, options).end(), 'response');
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  }
}
