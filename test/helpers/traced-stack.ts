import { randomBytes } from 'node:crypto';
import { startCollector } from './collector.ts';
import type { Environment } from './gateway.ts';
import { get } from './http.ts';
import { Stack } from './stack.ts';
import { respondWithCampaign } from './upstream.ts';
import { until } from './wait.ts';

/** A span kind of OTLP. */
const SERVER = 2;

export type TracedStack = Awaited<ReturnType<typeof startTracedStack>>;

/** A stack whose gateways export their spans to a collector. */
export async function startTracedStack() {
  const [stack, collector] = await Promise.all([Stack.start(), startCollector()]);
  const key = await stack.key({ rateLimits: ['1000000/1s'] });
  let campaigns = 0;
  const getPath = () => `/v1/accounts/ag_1/campaigns/cmp_${campaigns}`;
  return {
    stack,
    collector,
    key,
    getPath,
    /** Restores the campaign service. From now on requests are for a new campaign. */
    reset: () => {
      stack.upstream.respond = respondWithCampaign;
      campaigns++;
    },
    startGateway: (environment: Environment = {}) => {
      const exporter = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '50' };
      return stack.gatewayProcess({ ...exporter, CACHE_TTL_MS: '60000', ...environment });
    },
    read: async ({ url }: { url: string }, headers: Readonly<Record<string, string>> = {}) => {
      const response = await get(url + getPath(), { 'x-api-key': key, ...headers });
      return { ...response, traceId: response.headers.get('x-trace-id') ?? '' };
    },
    /** The spans of a trace once its server span has arrived, and that server span. Only background work ends later. */
    waitForSpans: async (traceId: string) => {
      const server = await until(() => collector.findSpans(traceId).find(({ kind }) => kind === SERVER));
      return { spans: collector.findSpans(traceId), server };
    },
    stop: async () => {
      await stack.stop();
      await collector.stop();
    },
  };
}

export const randomHex = (digits: number) => randomBytes(digits / 2).toString('hex');
