import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { until } from '../helpers/wait.ts';
import type { Ask, Interval, Observation } from './observation.ts';

/** More requests than these are not under way at once: on a machine that is slower than the load, it waits. */
const MAX_UNDER_WAY = 50;
const STANDSTILL_MS = 500;
/** What could not be sent in time is made up for little by little. */
const MAX_AT_ONCE = 3;
/** Longer than nginx waits for a gateway. */
const REQUEST_MS = 20_000;
const PATIENCE_MS = 60_000;

/** Requests at a fixed rate, over kept connections, each with what it was answered. */
export class SteadyLoad {
  readonly observations: Observation[] = [];
  /**
   * Requests that were sent again because the server had closed the kept connection before they came. Every client has to: a
   * server may close one that is idle (RFC 9112, section 9.3.1), and nginx does when it is told to reload.
   */
  readonly sentAgain: Interval[] = [];
  /** When this process, and with it the campaign service, had no time. */
  readonly standstills: Interval[] = [];
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #observe: (observation: Observation) => void;
  readonly #timer: NodeJS.Timeout;
  #sent = 0;
  /** The path of each, and when it was sent. */
  readonly #underWay = new Set<string>();

  constructor(url: string, ratePerS: number, next: () => Ask, observe: (observation: Observation) => void) {
    this.#url = url;
    this.#observe = observe;
    const startedAt = performance.now();
    let lastAt = Date.now();
    this.#timer = setInterval(() => {
      const now = Date.now();
      if (now - lastAt > STANDSTILL_MS) this.standstills.push({ from: lastAt, to: now });
      lastAt = now;
      const due = ((performance.now() - startedAt) * ratePerS) / 1000;
      for (let i = 0; i < MAX_AT_ONCE && this.#sent < due && this.#underWay.size < MAX_UNDER_WAY; i++)
        void this.#send(next());
    }, 5);
  }

  /** Waits for so many more answers. */
  async more(answers: number): Promise<void> {
    const soFar = this.observations.length;
    const isEnough = () => this.observations.length >= soFar + answers;
    await until(isEnough, PATIENCE_MS).catch(() => {
      const came = this.observations.length - soFar;
      throw new Error(`only ${came} answers in ${PATIENCE_MS} ms; under way: ${[...this.#underWay].join(', ')}`);
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await until(() => this.#underWay.size === 0, PATIENCE_MS);
    this.#agent.destroy();
  }

  async #send(ask: Ask): Promise<void> {
    const sentAt = Date.now();
    const name = `${ask.method} ${ask.path} at ${sentAt} (${this.#sent++})`;
    this.#underWay.add(name);
    const { response, text } = await this.#exchange(ask).catch(() => ({ response: undefined, text: '' }));
    const observation: Observation = {
      ...ask,
      sentAt,
      answeredAt: Date.now(),
      status: response?.statusCode ?? 0,
      header: (name) => response?.headers[name.toLowerCase()]?.toString() ?? null,
      text,
    };
    this.observations.push(observation);
    this.#observe(observation);
    this.#underWay.delete(name);
  }

  async #exchange(ask: Ask): Promise<{ response: IncomingMessage; text: string }> {
    const [from, request] = [Date.now(), this.#open(ask)];
    let hasBegun = false;
    request.on('response', () => {
      hasBegun = true;
    });
    try {
      return await answerTo(request);
    } catch (error) {
      if (!request.reusedSocket || hasBegun) throw error;
      this.sentAgain.push({ from, to: Date.now() });
      return this.#exchange(ask);
    }
  }

  #open({ client, method, path, ifNoneMatch }: Ask): ClientRequest {
    const { address, key, asBearer = false } = client;
    return httpRequest(this.#url + path, {
      agent: this.#agent,
      method,
      localAddress: address,
      timeout: REQUEST_MS,
      headers: {
        ...(key !== undefined && (asBearer ? { authorization: `Bearer ${key}` } : { 'x-api-key': key })),
        ...(ifNoneMatch !== undefined && { 'if-none-match': ifNoneMatch }),
      },
    });
  }
}

function answerTo(request: ClientRequest): Promise<{ response: IncomingMessage; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ response: IncomingMessage; text: string }>();
  request.on('error', reject).on('timeout', () => request.destroy(new Error('no answer')));
  request.on('response', (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    response.on('end', () => resolve({ response, text })).on('error', reject);
  });
  request.end();
  return promise;
}
