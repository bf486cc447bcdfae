import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { until } from '../../helpers/wait.ts';
import type { Interval, Observation, PlannedRequest } from './observation.ts';

/** On a machine slower than the load the rate drops instead. */
const MAX_IN_FLIGHT = 50;
/** After a stall the load catches up gradually. */
const MAX_BURST = 3;
/** A longer gap between two ticks is a stall of this process. */
const STALL_MS = 500;
/** Longer than nginx waits for a gateway. */
const REQUEST_TIMEOUT_MS = 20_000;
const WAIT_TIMEOUT_MS = 60_000;

/** Sends requests at a constant rate over kept-alive connections and records the responses. */
export class LoadGenerator {
  readonly observations: Observation[] = [];
  /**
   * Requests resent because the server closed the reused connection before it received them. Any client must do that
   * (RFC 9112, section 9.3.1). nginx closes idle connections when it reloads.
   */
  readonly resent: Interval[] = [];
  /** When this process, and with it the campaign service, got no CPU time. */
  readonly stalls: Interval[] = [];
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #onObservation: (observation: Observation) => void;
  readonly #timer: NodeJS.Timeout;
  #sent = 0;
  readonly #inFlight = new Set<string>();

  constructor(
    url: string,
    ratePerSecond: number,
    next: () => PlannedRequest,
    onObservation: (observation: Observation) => void,
  ) {
    this.#url = url;
    this.#onObservation = onObservation;
    const startedAt = performance.now();
    let lastTick = Date.now();
    this.#timer = setInterval(() => {
      const now = Date.now();
      if (now - lastTick > STALL_MS) this.stalls.push({ from: lastTick, to: now });
      lastTick = now;
      const due = ((performance.now() - startedAt) * ratePerSecond) / 1000;
      for (let i = 0; i < MAX_BURST && this.#sent < due && this.#inFlight.size < MAX_IN_FLIGHT; i++)
        void this.#send(next());
    }, 5);
  }

  /** Waits for `count` more observations. */
  async more(count: number): Promise<void> {
    const before = this.observations.length;
    const isEnough = () => this.observations.length >= before + count;
    await until(isEnough, WAIT_TIMEOUT_MS).catch(() => {
      const received = this.observations.length - before;
      throw new Error(
        `only ${received} responses in ${WAIT_TIMEOUT_MS} ms; in flight: ${[...this.#inFlight].join(', ')}`,
      );
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await until(() => this.#inFlight.size === 0, WAIT_TIMEOUT_MS);
    this.#agent.destroy();
  }

  async #send(planned: PlannedRequest): Promise<void> {
    const sentAt = Date.now();
    const label = `${planned.method} ${planned.path} at ${sentAt} (${this.#sent++})`;
    this.#inFlight.add(label);
    const { response, text } = await this.#exchange(planned).catch(() => ({ response: undefined, text: '' }));
    const observation: Observation = {
      ...planned,
      sentAt,
      receivedAt: Date.now(),
      status: response?.statusCode ?? 0,
      header: (name) => response?.headers[name.toLowerCase()]?.toString() ?? null,
      text,
    };
    this.observations.push(observation);
    this.#onObservation(observation);
    this.#inFlight.delete(label);
  }

  async #exchange(planned: PlannedRequest): Promise<{ response: IncomingMessage; text: string }> {
    const [from, request] = [Date.now(), this.#open(planned)];
    let hasResponse = false;
    request.on('response', () => {
      hasResponse = true;
    });
    try {
      return await readResponse(request);
    } catch (error) {
      if (!request.reusedSocket || hasResponse) throw error;
      this.resent.push({ from, to: Date.now() });
      return this.#exchange(planned);
    }
  }

  #open({ client, method, path, ifNoneMatch }: PlannedRequest): ClientRequest {
    const { address, key, usesBearer = false } = client;
    return httpRequest(this.#url + path, {
      agent: this.#agent,
      method,
      localAddress: address,
      timeout: REQUEST_TIMEOUT_MS,
      headers: {
        ...(key !== undefined && (usesBearer ? { authorization: `Bearer ${key}` } : { 'x-api-key': key })),
        ...(ifNoneMatch !== undefined && { 'if-none-match': ifNoneMatch }),
      },
    });
  }
}

function readResponse(request: ClientRequest): Promise<{ response: IncomingMessage; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ response: IncomingMessage; text: string }>();
  request.on('error', reject).on('timeout', () => request.destroy(new Error('request timed out')));
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
