import { openSync, writeSync } from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { pino } from 'pino';
import type { CacheOutcome } from '../../src/cache/cache-status.ts';
import { cacheReadCounter } from '../../src/cache/metrics.ts';
import { keyLookupCounter } from '../../src/keys/metrics.ts';
import { Exchange } from '../../src/middleware/request-context.ts';
import { logRequest } from '../../src/middleware/request-log.ts';
import { createRequestMetrics } from '../../src/middleware/request-metrics.ts';
import { requestOutcome } from '../../src/middleware/request-outcome.ts';
import { endServerSpan } from '../../src/middleware/server-span.ts';
import { rateLimitDecisionCounters } from '../../src/rate-limit/metrics.ts';
import { instrumentRedis } from '../../src/redis/telemetry.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { startMetrics } from '../../src/telemetry/metrics.ts';
import { startSdk } from '../../src/telemetry/sdk.ts';
import { extractTraceContext } from '../../src/telemetry/trace-context.ts';
import { startServerSpan, withSamplingFlag, withSpan } from '../../src/telemetry/tracing.ts';

/** What telemetry adds to a cached read: CPU time of the very calls that a request makes, all switched on, not sampled. */
const ROUNDS = 300_000;

const settings = loadSettings({
  CAMPAIGN_SERVICE_URL: 'http://127.0.0.1:1',
  OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
  OTEL_TRACES_SAMPLER: 'always_off',
});
const silent = pino({ level: 'silent' });
startMetrics(await startSdk(settings, silent));
const nowhere = openSync('/dev/null', 'w');
let lines: string[] = [];
/** As in a process: what is logged in one turn of the event loop is written at once; here it is ten lines. */
const toNowhere = pino(
  { level: 'info' },
  {
    write(line) {
      if (lines.push(line) < 10) return;
      writeSync(nowhere, lines.join(''));
      lines = [];
    },
  },
);

const meter = createRequestMetrics();
const observeCall = instrumentRedis();
const countDecision = rateLimitDecisionCounters().key;
const countLookup = keyLookupCounter();
const countRead = cacheReadCounter();
const hit: CacheOutcome = { outcome: 'hit', ageMs: 10, ttlMs: 10 };

const request = new IncomingMessage(new Socket());
request.method = 'GET';
const response = new ServerResponse(request);
const exchange = new Exchange(request, response, extractTraceContext({}, false), undefined, '127.0.0.1', {
  draining: false,
  keepAliveSeconds: 75,
});
exchange.route = '/v1/accounts/{accountGroupId}/campaigns/{campaignId}';
exchange.cache = hit;
const outcome = requestOutcome(exchange);

const parts: Record<string, () => void> = {
  'trace and span': () => {
    const opened = extractTraceContext({}, false);
    const span = startServerSpan(opened);
    withSamplingFlag(opened, span);
    withSpan(span, () => {});
    endServerSpan(exchange, outcome);
  },
  'call to Redis': () => observeCall('chargeLimits')(),
  counters: () => {
    countLookup('cached');
    countDecision('allowed', 'redis');
    countRead(hit);
  },
  'request histogram': () => meter.completed(exchange, outcome),
  'log line': () => logRequest(toNowhere, exchange, outcome),
};

function cost(run: () => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < ROUNDS; i++) run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / ROUNDS;
}

for (const run of Object.values(parts)) cost(run); // Warm.
let all = 0;
for (const [name, run] of Object.entries(parts)) {
  const microseconds = cost(run);
  all += microseconds;
  console.log(`${name.padEnd(18)} ${microseconds.toFixed(2)} µs`);
}
console.log(`${'all'.padEnd(18)} ${all.toFixed(2)} µs of CPU a cached read`);
process.exit(0);
