import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { until } from './wait.ts';

/** The status of one request, over a kept connection of the agent. */
function statusOf(url: string, key: string, agent: Agent): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  get(url, { agent, headers: { 'x-api-key': key } }, (response) => {
    response.on('end', () => resolve(response.statusCode ?? 0)).on('error', reject);
    response.resume();
  }).on('error', reject);
  return promise;
}

/** How often each status came, and each error in the place of an answer. */
export type Tally = Readonly<Record<string, number>>;

/** So many requests to each of the addresses, as fast as fifty connections to each can carry them. */
export async function flood(urls: readonly string[], key: string, requestsEach: number): Promise<Tally> {
  const tally: Record<string, number> = {};
  const floodOne = async (url: string) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    const requests = Array.from({ length: requestsEach }, async () => {
      const status = await statusOf(url, key, agent);
      tally[status] = (tally[status] ?? 0) + 1;
    });
    await Promise.all(requests);
    agent.destroy();
  };
  await Promise.all(urls.map(floodOne));
  return tally;
}

/** For a gateway under load: it waits for the campaign service for longer than a machine stalls. */
export const patient = { CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '30000', CAMPAIGN_SERVICE_TIMEOUT_MS: '30000' };

/** Outcomes that were not to be. A 500 is an answer: a machine may stall for longer than a gateway waits for Redis. */
export function unexpected(tally: Tally, ...expected: string[]): string[] {
  return Object.keys(tally).filter((outcome) => !['200', '500', ...expected].includes(outcome));
}

type Address = string | (() => string);

/** Requests without a break, a few at a time, each key to each address, until they are stopped. */
export class Load {
  readonly #tally: Record<string, number> = {};
  readonly #agent: Agent;
  readonly #clients: Promise<void>[];
  #stopped = false;

  /** An address may be another for each request; a connection is kept for the next one, or is not. */
  constructor(urls: readonly Address[], keys: readonly string[], { keepAlive = true } = {}) {
    this.#agent = new Agent({ keepAlive });
    this.#clients = urls.flatMap((url) => keys.map((key) => this.#ask(url, key)));
  }

  /** So far. */
  get answers(): number {
    return Object.values(this.#tally).reduce((sum, count) => sum + count, 0);
  }

  /** Waits for so many more. */
  async more(answers: number): Promise<void> {
    const soFar = this.answers;
    await until(() => this.answers >= soFar + answers);
  }

  async stop(): Promise<Tally> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    this.#agent.destroy();
    return this.#tally;
  }

  async #ask(address: Address, key: string): Promise<void> {
    while (!this.#stopped) {
      const url = typeof address === 'string' ? address : address();
      const outcome = await statusOf(url, key, this.#agent).catch(({ code }) => String(code));
      this.#tally[outcome] = (this.#tally[outcome] ?? 0) + 1;
      await pause(2); // The machine is to have time for Redis and the gateways.
    }
  }
}
