import { AbortedError, UpstreamFailure } from './failure.ts';

type State =
  | { readonly name: 'closed'; failures: number }
  | { readonly name: 'open'; readonly until: number }
  | { readonly name: 'half_open' };

export interface CircuitBreakerOptions {
  /** Consecutive failures that open the circuit. */
  readonly failures: number;
  readonly openMs: number;
  /** Milliseconds on a clock that is never set back. */
  readonly now?: () => number;
  readonly onChange?: (state: State['name'], before: State['name']) => void;
}

/**
 * Keeps requests from a campaign service that fails (Nygard, "Release It!", the circuit breaker). Closed, it counts
 * consecutive failures; open, it rejects at once; after the pause it lets one request through, whose outcome closes or
 * opens it again, and rejects all others at once meanwhile. An abandoned request says nothing about the service.
 */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  readonly #now: () => number;
  #state: State = { name: 'closed', failures: 0 };

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get state(): State['name'] {
    return this.#state.name;
  }

  /** Runs `attempt`, telling it whether it is the probe. Rejects with `circuit_open`. */
  async run<T>(attempt: (isProbe: boolean) => Promise<T>): Promise<T> {
    const state = this.#state;
    if (state.name !== 'closed') return this.#probe(state, attempt);
    try {
      const reply = await attempt(false);
      this.#record(state, 'answered');
      return reply;
    } catch (error) {
      this.#record(state, classify(error));
      throw error;
    }
  }

  async #probe<T>(state: State, attempt: (isProbe: boolean) => Promise<T>): Promise<T> {
    if (state.name !== 'open' || this.#now() < state.until) {
      throw new UpstreamFailure('circuit_open', 'the circuit is open');
    }
    this.#change({ name: 'half_open' });
    try {
      const reply = await attempt(true);
      this.#change({ name: 'closed', failures: 0 });
      return reply;
    } catch (error) {
      const outcome = classify(error);
      if (outcome === 'answered') this.#change({ name: 'closed', failures: 0 });
      // One that says nothing leaves the circuit open for the next to try at once.
      else this.#change({ name: 'open', until: this.#now() + (outcome === 'failed' ? this.#options.openMs : 0) });
      throw error;
    }
  }

  /** Only for as long as the circuit has not opened since: what was sent before an outage says nothing about its end. */
  #record(state: State & { name: 'closed' }, outcome: Outcome): void {
    if (this.#state !== state || outcome === 'unknown') return;
    state.failures = outcome === 'failed' ? state.failures + 1 : 0;
    if (state.failures >= this.#options.failures) {
      this.#change({ name: 'open', until: this.#now() + this.#options.openMs });
    }
  }

  #change(state: State): void {
    const before = this.#state.name;
    this.#state = state;
    this.#options.onChange?.(state.name, before);
  }
}

type Outcome = 'answered' | 'failed' | 'unknown';

/**
 * What an error says about the campaign service's health. A full queue is our own; too long an answer is one, and so is a
 * 400 or a redirect: one key that asks for what the service does not like must not shut it off for all.
 */
function classify(error: unknown): Outcome {
  if (!(error instanceof UpstreamFailure) || error instanceof AbortedError) return 'unknown';
  if (error.reason === 'overloaded' || error.reason === 'circuit_open') return 'unknown';
  const isAnswer = error.reason === 'too_large' || (error.status !== undefined && error.status < 500);
  return isAnswer ? 'answered' : 'failed';
}
