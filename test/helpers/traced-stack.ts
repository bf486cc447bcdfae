import { randomBytes } from 'node:crypto';
import { type CollectedSpan, Collector } from './collector.ts';
import type { Environment, GatewayProcess } from './gateway.ts';
import { get } from './http.ts';
import { Stack } from './stack.ts';
import { respondWithCampaign } from './upstream.ts';
import { until } from './wait.ts';

/** Span kinds of OTLP. */
export const [INTERNAL, CLIENT] = [1, 3];
const SERVER = 2;

/** A stack whose gateways export their spans to a collector. */
export class TracedStack {
  readonly stack: Stack;
  readonly collector: Collector;
  readonly key: string;
  #campaigns = 0;

  private constructor(stack: Stack, collector: Collector, key: string) {
    this.stack = stack;
    this.collector = collector;
    this.key = key;
  }

  static async start(): Promise<TracedStack> {
    const [stack, collector] = await Promise.all([Stack.start(), Collector.start()]);
    return new TracedStack(stack, collector, await stack.key({ rateLimits: ['1000000/1s'] }));
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
    const exporter = { OTEL_EXPORTER_OTLP_ENDPOINT: this.collector.url, OTEL_BSP_SCHEDULE_DELAY: '50' };
    return this.stack.gatewayProcess({ ...exporter, CACHE_TTL_MS: '60000', ...environment });
  }

  async read({ url }: { url: string }, headers: Readonly<Record<string, string>> = {}) {
    const response = await get(url + this.path, { 'x-api-key': this.key, ...headers });
    return { ...response, traceId: response.headers.get('x-trace-id') ?? '' };
  }

  /** The spans of a trace once its server span has arrived, and that server span. Only background work ends later. */
  async waitForSpans(traceId: string): Promise<{ spans: CollectedSpan[]; server: CollectedSpan }> {
    const server = await until(() => this.collector.findSpans(traceId).find(({ kind }) => kind === SERVER));
    return { spans: this.collector.findSpans(traceId), server };
  }
}

export const isRedisCall = ({ attributes }: CollectedSpan) => attributes['db.system.name'] === 'redis';

/** Whether this is an attempt at the campaign service. */
export const isUpstreamRequest = ({ kind, attributes }: CollectedSpan) =>
  kind === CLIENT && 'http.request.method' in attributes;

export const randomHex = (digits: number) => randomBytes(digits / 2).toString('hex');
