import type { Outcome } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

/** Bytes of one or more requests. `KEY` stands for a valid key. */
export interface RawRequest {
  readonly name: string;
  readonly bytes: string;
  /** The expected responses, in order. */
  readonly responses: readonly Outcome[];
  /** Whether the gateway closes the connection after the last response. */
  readonly closes: boolean;
  /** Do not split: the outcome holds only where the first packet has the whole request line. */
  readonly inOnePacket?: boolean;
}

const KEY = 'X-API-Key: KEY\r\n';

/** A request for a campaign. */
export function get(headers = '', { target = campaignPath, version = 'HTTP/1.1', host = 'Host: a\r\n' } = {}): string {
  return `GET ${target} ${version}\r\n${host}${KEY}${headers}\r\n`;
}

export const version = (text: string) => get('', { version: text });
export const target = (text: string) => get('', { target: text });
export const host = (lines: string) => get('', { host: lines });
export const method = (text: string) => get().replace('GET', text);
export const long = (count: number) => 'a'.repeat(count);

/** The smuggled request: if the gateway parsed it, the client would get a campaign. */
export const next = get();

/** Rejected with this error. The following request gets no response. */
export const rejected = (rows: Readonly<Record<string, string>>, outcome: Outcome = 'VALIDATION_ERROR'): RawRequest[] =>
  Object.entries(rows).map(([name, bytes]) => ({ name, bytes: bytes + next, responses: [outcome], closes: true }));

/** Served, then the connection closes. The following request gets no response. */
export const servedAsLast = (rows: Readonly<Record<string, string>>): RawRequest[] => rejected(rows, 'OK');

/** The connection stays open. */
export const keptAlive = (rows: Readonly<Record<string, readonly [bytes: string, Outcome]>>): RawRequest[] =>
  Object.entries(rows).map(([name, [bytes, outcome]]) => ({ name, bytes, responses: [outcome], closes: false }));
