import type { RateLimit } from '../../src/rate-limit/rate-limiter.ts';

/** Who sends requests: an address of its own, and a key or none. */
export interface Client {
  readonly address: string;
  readonly key: string | undefined;
  /** Whether the key has ever been made. */
  readonly isKnown: boolean;
  readonly asBearer?: boolean;
  /** Of its key, or of its address on keys that fail; none: one that does not matter. */
  readonly limit?: RateLimit;
}

export interface Ask {
  readonly client: Client;
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  readonly path: string;
  readonly ifNoneMatch?: string | undefined;
}

/** A request and what it was answered, by the clock of the test. */
export interface Observation extends Ask {
  readonly sentAt: number;
  readonly answeredAt: number;
  /** 0: there was no answer. */
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly text: string;
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

export const overlaps = (a: Interval, b: Interval): boolean => a.from <= b.to && b.from <= a.to;

export const during = ({ sentAt, answeredAt }: Observation): Interval => ({ from: sentAt, to: answeredAt });

/** Whether a gateway has answered it, or nobody has, or nginx by itself: at this load no gateway says 503. */
export const isLost = ({ status, header }: Observation): boolean =>
  status === 0 || status === 503 || header('x-trace-id') === null;
