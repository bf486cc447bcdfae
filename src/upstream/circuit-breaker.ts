import { AbortedError, UpstreamFailure } from './failure.ts';

type ClosedState = { readonly name: 'closed'; failures: number };
type HalfOpenState = { readonly name: 'half_open' };
type State = ClosedState | HalfOpenState | { readonly name: 'open'; readonly until: number };

export type CircuitState = State['name'];

export interface CircuitBreakerOptions {
  /** Consecutive failures that open the circuit. */
  readonly failureThreshold: number;
  readonly openMs: number;
  /** Monotonic clock in milliseconds. */
  readonly now: () => number;
  readonly onChange: (state: CircuitState, previous: CircuitState) => void;
}

/**
 * Closed: counts consecutive failures. Open: rejects every request for `openMs`. Half-open: one request probes the service,
 * all others are rejected, and the result of the probe closes or reopens the circuit.
 */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #state: State = { name: 'closed', failures: 0 };

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  get state(): CircuitState {
    return this.#state.name;
  }

  /** Runs `send`, or rejects with `circuit_open`. */
  async run<T>(send: (isProbe: boolean) => Promise<T>): Promise<T> {
    const state = this.#enter();
    try {
      const reply = await send(state.name === 'half_open');
      this.#record(state, 'success');
      return reply;
    } catch (error) {
      this.#record(state, classify(error));
      throw error;
    }
  }

  /** The state under which the request runs: closed, or half-open for the probe. */
  #enter(): ClosedState | HalfOpenState {
    const state = this.#state;
    if (state.name === 'closed') return state;
    if (state.name === 'half_open' || this.#options.now() < state.until) {
      throw new UpstreamFailure('circuit_open', 'the circuit is open');
    }
    return this.#change({ name: 'half_open' });
  }

  /** Ignores a request that was sent in an earlier state: it does not reflect the service now. */
  #record(state: ClosedState | HalfOpenState, outcome: Outcome): void {
    if (this.#state !== state) return;
    const { failureThreshold, openMs, now } = this.#options;
    if (state.name === 'closed') {
      if (outcome !== 'ignored') state.failures = outcome === 'failure' ? state.failures + 1 : 0;
      if (state.failures >= failureThreshold) this.#change({ name: 'open', until: now() + openMs });
    } else if (outcome === 'success') {
      this.#change({ name: 'closed', failures: 0 });
    } else {
      // After an inconclusive probe the next request probes again at once.
      this.#change({ name: 'open', until: now() + (outcome === 'failure' ? openMs : 0) });
    }
  }

  #change<S extends State>(state: S): S {
    const previous = this.#state.name;
    this.#state = state;
    this.#options.onChange(state.name, previous);
    return state;
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
