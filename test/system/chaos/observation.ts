import type { RateLimit } from '../../../src/rate-limit/rate-limiter.ts';

export interface Client {
  /** The source address of its connections. */
  readonly address: string;
  readonly key: string | undefined;
  /** Whether the key was created. It may be revoked later. */
  readonly hasValidKey: boolean;
  readonly usesBearer?: boolean;
  /** The limit of its key or, for failed keys, of its address. Absent: never reached. */
  readonly limit?: RateLimit;
}

export interface PlannedRequest {
  readonly client: Client;
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  readonly path: string;
  readonly ifNoneMatch?: string | undefined;
}

/** A request with its response. Times are epoch milliseconds of the test's clock. */
export interface Observation extends PlannedRequest {
  readonly sentAt: number;
  readonly receivedAt: number;
  /** 0: no response. */
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly text: string;
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

export const overlaps = (a: Interval, b: Interval): boolean => a.from <= b.to && b.from <= a.to;

export const during = ({ sentAt, receivedAt }: Observation): Interval => ({ from: sentAt, to: receivedAt });

/** Whether no gateway responded: no response, or one made by nginx. At this load no gateway sends a 503. */
export const isLost = ({ status, header }: Observation): boolean =>
  status === 0 || status === 503 || header('x-trace-id') === null;
