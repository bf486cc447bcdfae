import { type CollectedSpan, Collector } from './collector.ts';
import type { Environment, GatewayProcess } from './gateway.ts';
import { get } from './http.ts';
import { Stack } from './stack.ts';
import { respondWithCampaign } from './upstream.ts';
import { until } from './wait.ts';

/** Span kinds of OTLP. */
export const [INTERNAL, CLIENT] = [1, 3];
const SERVER = 2;
/** The status code of a span that failed. */
export const ERROR = 2;

/** A stack whose gateways export their spans to a collector. */
export class TracedStack {
  readonly stack: Stack;
  readonly collector: Collector;
  readonly gateway: GatewayProcess;
  readonly key: string;
  #campaigns = 0;

  private constructor(stack: Stack, collector: Collector, gateway: GatewayProcess, key: string) {
    this.stack = stack;
    this.collector = collector;
    this.gateway = gateway;
    this.key = key;
  }

  static async start(): Promise<TracedStack> {
    const [stack, collector] = await Promise.all([Stack.start(), Collector.start()]);
    const gateway = await startTraced(stack, collector, {});
    return new TracedStack(stack, collector, gateway, await stack.key({ rateLimits: ['1000000/1s'] }));
  }

  async stop(): Promise<void> {
    await this.stack.stop();
    await this.collector.stop();
  }

  /** Restores the campaign service. From now on `path` is that of a new campaign. */
  reset(): void {
    this.stack.upstream.respond = respondWithCampaign;
    this.#campaigns++;
  }

  get path(): string {
    return `/v1/accounts/ag_1/campaigns/cmp_${this.#campaigns}`;
  }

  startGateway(environment: Environment = {}): Promise<GatewayProcess> {
    return startTraced(this.stack, this.collector, environment);
  }

  async read({ url }: { url: string }, headers: Readonly<Record<string, string>> = {}) {
    const response = await get(url + this.path, { 'x-api-key': this.key, ...headers });
    return { ...response, traceId: response.headers.get('x-trace-id') ?? '' };
  }

  /** The spans of a trace once its server span has arrived. Only background work ends later. */
  async waitForSpans(traceId: string): Promise<CollectedSpan[]> {
    await until(() => this.collector.findSpans(traceId).some(({ kind }) => kind === SERVER));
    return this.collector.findSpans(traceId);
  }

  /** The sum of all series of the gateway whose line contains these texts. */
  async count(...texts: string[]): Promise<number> {
    const scraped = await (await fetch(`${this.gateway.operationsUrl}/metrics`)).text();
    const lines = scraped.split('\n').filter((line) => texts.every((text) => line.includes(text)));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }
}

function startTraced(stack: Stack, { url }: Collector, environment: Environment): Promise<GatewayProcess> {
  const defaults = { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_BSP_SCHEDULE_DELAY: '50', CACHE_TTL_MS: '60000' };
  return stack.gatewayProcess({ ...defaults, ...environment });
}

export const findServerSpan = (spans: CollectedSpan[]) => spans.find(({ kind }) => kind === SERVER) as CollectedSpan;

export const eventAttributes = ({ events }: CollectedSpan) =>
  Object.fromEntries(events.map(({ name, attributes }) => [name, attributes]));

export const isRedisCall = ({ attributes }: CollectedSpan) => attributes['db.system.name'] === 'redis';

/** Whether this is an attempt at the campaign service. */
export const isUpstreamRequest = ({ kind, attributes }: CollectedSpan) =>
  kind === CLIENT && 'http.request.method' in attributes;

export function randomHex(digits: number): string {
  const hex = Array.from({ length: digits }, () => Math.floor(Math.random() * 16).toString(16)).join('');
  return hex.replace(/^0/, '1'); // Never all zeros.
}
