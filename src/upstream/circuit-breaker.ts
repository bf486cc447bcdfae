import { Abandoned, UpstreamFailure } from './failure.ts';

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
  readonly onChange?: (state: State['name']) => void;
}

/** Failures that speak of one document, of the caller or of this gateway, and not of the campaign service's health. */
const NEUTRAL = new Set(['not_json', 'not_a_campaign', 'too_large', 'overloaded', 'circuit_open']);

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
      const answer = await attempt(false);
      if (this.#state.name === 'closed') this.#state.failures = 0;
      return answer;
    } catch (error) {
      if (this.#state.name === 'closed' && isFailure(error)) this.#count(this.#state);
      throw error;
    }
  }

  async #probe<T>(state: State, attempt: (isProbe: boolean) => Promise<T>): Promise<T> {
    if (state.name !== 'open' || this.#now() < state.until) {
      throw new UpstreamFailure('circuit_open', 'the circuit is open');
    }
    this.#change({ name: 'half_open' });
    try {
      const answer = await attempt(true);
      this.#change({ name: 'closed', failures: 0 });
      return answer;
    } catch (error) {
      // One that says nothing leaves the circuit open for the next to try at once.
      this.#change({ name: 'open', until: isFailure(error) ? this.#now() + this.#options.openMs : this.#now() });
      throw error;
    }
  }

  #count(state: State & { name: 'closed' }): void {
    state.failures++;
    if (state.failures >= this.#options.failures) {
      this.#change({ name: 'open', until: this.#now() + this.#options.openMs });
    }
  }

  #change(state: State): void {
    this.#state = state;
    this.#options.onChange?.(state.name);
  }
}

function isFailure(error: unknown): boolean {
  return error instanceof UpstreamFailure && !(error instanceof Abandoned) && !NEUTRAL.has(error.reason);
}
