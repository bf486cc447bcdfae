import { randomBytes } from 'node:crypto';
import { beforeAll, beforeEach } from 'vitest';
import { startCollector } from './collector.ts';
import type { Environment } from './gateway.ts';
import { get } from './http.ts';
import { respondWithCampaign } from './upstream.ts';
import { useStack } from './use-stack.ts';
import { until } from './wait.ts';

/** A span kind of OTLP. */
const SERVER = 2;

/** A stack of a test file whose gateways export their spans to a collector. Each test requests a new campaign. */
export function useTracedStack() {
  const stack = useStack();
  let collector: Awaited<ReturnType<typeof startCollector>>;
  let key: string;
  let campaigns = 0;
  beforeAll(async () => {
    collector = await startCollector();
    key = await stack.key({ rateLimits: ['1000000/1s'] });
    return () => collector.stop();
  });
  beforeEach(() => {
    stack.upstream.respond = respondWithCampaign;
    campaigns++;
  });
  const getPath = () => `/v1/accounts/ag_1/campaigns/cmp_${campaigns}`;
  return {
    stack,
    get key() {
      return key;
    },
    /** All spans that gateways have exported. */
    spans: () => collector.spans,
    findSpans: (traceId: string) => collector.findSpans(traceId),
    getPath,
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
  };
}

export const randomHex = (digits: number) => randomBytes(digits / 2).toString('hex');
