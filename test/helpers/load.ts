import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { until } from './wait.ts';

/** For tests that are not about upstream timeouts: a loaded machine may stall for longer than the defaults. */
export const longTimeouts = { CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '30000', CAMPAIGN_SERVICE_TIMEOUT_MS: '30000' };

/** Counts by outcome: a status, or the error code of a request without a response. */
export type Tally = Readonly<Record<string, number>>;

/** Sends `requestsEach` requests to each URL, over at most fifty connections to each host. */
export async function flood(urls: readonly string[], key: string, requestsEach: number): Promise<Tally> {
  const agent = new Agent({ keepAlive: true, maxSockets: 50 });
  const requests = Array.from({ length: requestsEach }, () => urls.map((url) => fetchStatus(url, key, agent)));
  const tally: Record<string, number> = {};
  for (const status of await Promise.all(requests.flat())) tally[status] = (tally[status] ?? 0) + 1;
  agent.destroy();
  return tally;
}

/** Outcomes other than 200 and `expected`. */
export function unexpected(tally: Tally, ...expected: string[]): string[] {
  return Object.keys(tally).filter((outcome) => !['200', ...expected].includes(outcome));
}

/** Closed-loop load: one client for each pair of URL and key, until it is stopped. */
export class Load {
  readonly #tally: Record<string, number> = {};
  readonly #agent: Agent;
  readonly #clients: Promise<void>[];
  #stopped = false;

  constructor(urls: readonly string[], keys: readonly string[], { keepAlive = true } = {}) {
    this.#agent = new Agent({ keepAlive });
    this.#clients = urls.flatMap((url) => keys.map((key) => this.#run(url, key)));
  }

  /** Waits for `count` more outcomes. */
  async more(count: number): Promise<void> {
    const target = this.#completed + count;
    await until(() => this.#completed >= target);
  }

  async stop(): Promise<Tally> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    this.#agent.destroy();
    return this.#tally;
  }

  get #completed(): number {
    return Object.values(this.#tally).reduce((sum, count) => sum + count, 0);
  }

  async #run(url: string, key: string): Promise<void> {
    while (!this.#stopped) {
      const outcome = await fetchStatus(url, key, this.#agent).catch(({ code }) => String(code));
      this.#tally[outcome] = (this.#tally[outcome] ?? 0) + 1;
      await pause(2); // Leave CPU time to Redis and the gateways.
    }
  }
}

function fetchStatus(url: string, key: string, agent: Agent): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  get(url, { agent, headers: { 'x-api-key': key } }, (response) => {
    response.on('end', () => resolve(response.statusCode ?? 0)).on('error', reject);
    response.resume();
  }).on('error', reject);
  return promise;
}
