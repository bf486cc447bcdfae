import type { GatewayProcess } from '../../helpers/gateway.ts';
import { type Interval, overlaps } from './observation.ts';

/** After a stall the circuit breaker of a gateway may stay open this long. */
const CIRCUIT_RECOVERY_MS = 3000;

/**
 * When each gateway was without Redis, or a part of it, according to its log, and when the whole machine stalled. The oracle
 * expects less of responses during these intervals, because a slow machine causes additional outages.
 */
export class Outages {
  readonly #stalls: readonly Interval[];
  readonly #byGateway = new Map<string, readonly Interval[]>();
  readonly #gatewayByTrace = new Map<string, string>();

  constructor(gateways: readonly Pick<GatewayProcess, 'url' | 'log'>[], stalls: readonly Interval[] = []) {
    this.#stalls = stalls.map(({ from, to }) => ({ from, to: to + CIRCUIT_RECOVERY_MS }));
    for (const { url, log } of gateways) {
      this.#byGateway.set(url, findRedisOutages(log));
      for (const { trace_id: traceId } of log) if (typeof traceId === 'string') this.#gatewayByTrace.set(traceId, url);
    }
  }

  /** The outages of all gateways. */
  get all(): Interval[] {
    return [...this.#stalls, ...[...this.#byGateway.values()].flat()];
  }

  /** Whether the gateway that handled this request had no outage in the interval. */
  isHealthy(traceId: string, interval: Interval): boolean {
    const outages = this.#byGateway.get(this.#gatewayByTrace.get(traceId) ?? '') ?? [];
    return ![...this.#stalls, ...outages].some((outage) => overlaps(outage, interval));
  }
}

function findRedisOutages(log: GatewayProcess['log']): Interval[] {
  const outages: Interval[] = [];
  let from: number | undefined;
  for (const line of log.filter(({ dependency }) => dependency === 'redis')) {
    const at = Date.parse(String(line['time']));
    if (line['state'] !== 'up') from ??= at;
    else if (from !== undefined) {
      outages.push({ from, to: at });
      from = undefined;
    }
  }
  if (from !== undefined) outages.push({ from, to: Date.parse(String(log.at(-1)?.['time'])) });
  return outages;
}
