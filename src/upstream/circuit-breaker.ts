import { AbortedError, UpstreamFailure } from './failure.ts';

type State =
  | { readonly name: 'closed'; failures: number }
  | { readonly name: 'open'; readonly until: number }
  | { readonly name: 'half_open' };

export type CircuitState = State['name'];

export interface CircuitBreakerOptions {
  /** Consecutive failures that open the circuit. */
  readonly failureThreshold: number;
  readonly openMs: number;
  /** Monotonic clock in milliseconds. */
  readonly now?: () => number;
  readonly onChange?: (state: CircuitState, previous: CircuitState) => void;
}

/**
 * Closed: counts consecutive failures. Open: rejects every request for `openMs`. Half-open: one request probes the service,
 * all others are rejected, and the result of the probe closes or reopens the circuit.
 */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  readonly #now: () => number;
  #state: State = { name: 'closed', failures: 0 };

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get state(): CircuitState {
    return this.#state.name;
  }

  /** Runs `send`, or rejects with `circuit_open`. */
  async run<T>(send: (isProbe: boolean) => Promise<T>): Promise<T> {
    const state = this.#enter();
    const isProbe = state.name === 'half_open';
    try {
      const reply = await send(isProbe);
      this.#record(state, 'success');
      return reply;
    } catch (error) {
      this.#record(state, classify(error));
      throw error;
    }
  }

  /** The state under which the request runs: closed, or half-open for the probe. */
  #enter(): Exclude<State, { name: 'open' }> {
    const state = this.#state;
    if (state.name === 'closed') return state;
    if (state.name === 'half_open' || this.#now() < state.until) {
      throw new UpstreamFailure('circuit_open', 'the circuit is open');
    }
    const halfOpen = { name: 'half_open' } as const;
    this.#change(halfOpen);
    return halfOpen;
  }

  /** Ignores a request that was sent in an earlier state: it does not reflect the service now. */
  #record(state: Exclude<State, { name: 'open' }>, outcome: Outcome): void {
    if (this.#state !== state) return;
    if (state.name === 'closed') {
      if (outcome !== 'ignored') state.failures = outcome === 'failure' ? state.failures + 1 : 0;
      if (state.failures >= this.#options.failureThreshold) this.#open(this.#options.openMs);
    } else if (outcome === 'success') {
      this.#change({ name: 'closed', failures: 0 });
    } else {
      // After an inconclusive probe the next request probes again at once.
      this.#open(outcome === 'failure' ? this.#options.openMs : 0);
    }
  }

  #open(forMs: number): void {
    this.#change({ name: 'open', until: this.#now() + forMs });
  }

  #change(state: State): void {
    const previous = this.#state.name;
    this.#state = state;
    this.#options.onChange?.(state.name, previous);
  }
}

type Outcome = 'success' | 'failure' | 'ignored';

/**
 * Whether an error shows that the campaign service is unhealthy. A response below 500 and an oversized body are successes:
 * a request that the service rejects must not close it to every other request.
 */
function classify(error: unknown): Outcome {
  if (!(error instanceof UpstreamFailure) || error instanceof AbortedError) return 'ignored';
  if (error.reason === 'overloaded' || error.reason === 'circuit_open') return 'ignored';
  const hasResponded = error.reason === 'too_large' || (error.status !== undefined && error.status < 500);
  return hasResponded ? 'success' : 'failure';
}
