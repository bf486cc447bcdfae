import type { GatewayProcess } from '../helpers/gateway.ts';
import { type Interval, overlaps } from './observation.ts';

/** After a standstill a gateway may have the circuit to the campaign service open for so long. */
const STANDSTILL_MS = 3000;

/**
 * When each gateway did without Redis, or without a part of it, by its own log; and when the whole machine stood still, the
 * campaign service included. On a slow one that comes to pass: what nobody can know or do then is not to be asked.
 */
export class Trouble {
  readonly #standstills: readonly Interval[];
  readonly #gateways = new Map<string, readonly Interval[]>();
  readonly #gatewayOf = new Map<string, string>();

  constructor(gateways: readonly Pick<GatewayProcess, 'url' | 'log'>[], standstills: readonly Interval[] = []) {
    this.#standstills = standstills.map(({ from, to }) => ({ from, to: to + STANDSTILL_MS }));
    for (const { url, log } of gateways) {
      this.#gateways.set(url, troublesIn(log));
      for (const { trace_id: traceId } of log) if (typeof traceId === 'string') this.#gatewayOf.set(traceId, url);
    }
  }

  /** Of all of them. */
  get all(): Interval[] {
    return [...this.#standstills, ...[...this.#gateways.values()].flat()];
  }

  /** Whether the gateway that has answered this request had all it needs all that time. */
  isCalm(traceId: string, time: Interval): boolean {
    const troubles = this.#gateways.get(this.#gatewayOf.get(traceId) ?? '') ?? [];
    return ![...this.#standstills, ...troubles].some((trouble) => overlaps(trouble, time));
  }
}

function troublesIn(log: GatewayProcess['log']): Interval[] {
  const troubles: Interval[] = [];
  let from: number | undefined;
  for (const line of log.filter(({ dependency }) => dependency === 'redis')) {
    const at = Date.parse(String(line['time']));
    if (line['state'] !== 'up') from ??= at;
    else if (from !== undefined) {
      troubles.push({ from, to: at });
      from = undefined;
    }
  }
  if (from !== undefined) troubles.push({ from, to: Date.parse(String(log.at(-1)?.['time'])) });
  return troubles;
}
