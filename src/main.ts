import cluster from 'node:cluster';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { publicEndpoints } from './endpoints/index.ts';
import { createInvalidationSchema } from './endpoints/invalidation-schema.ts';
import { createGateway } from './gateway.ts';
import { drain } from './http/drain.ts';
import { formatHttpUrl } from './http/format-url.ts';
import { findOpenFileShortage } from './http/open-files.ts';
import { postInvalidations } from './operations/cache-invalidations.ts';
import { createOperations } from './operations/operations.ts';
import { findUnusedSettings } from './settings/conflicts.ts';
import type { Settings } from './settings/definitions.ts';
import { loadSettings, maskCredentials, SettingsError } from './settings/load.ts';
import { findMisspellings } from './settings/misspellings.ts';
import { createStores } from './stores.ts';
import { createLog } from './telemetry/log.ts';
import { startSdk } from './telemetry/sdk.ts';
import { version } from './version.ts';
import { onShutdownSignal } from './workers/signals.ts';
import { superviseWorkers } from './workers/supervise.ts';
import { joinWorkerGroup } from './workers/worker-group.ts';

/** sysexits.h: something was found in an unconfigured or misconfigured state. */
const EX_CONFIG = 78;

/** Connections that the kernel queues, at most `net.core.somaxconn`. A client that finds the queue full retries after a second. */
const BACKLOG = 4096;

/** How long requests in flight on the operations listener may take at the end of a shutdown. */
const OPERATIONS_GRACE_MS = 2000;

// Start

const settings = loadSettingsOrExit();
const log = createLog(settings);
process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, 'uncaught exception');
  process.exit(1);
});
if (cluster.isPrimary) for (const warning of findWarnings()) log.warn(warning);
if (settings.WORKERS > 1 && cluster.isPrimary) await superviseWorkers(settings, log);

let state: 'starting' | 'serving' | 'retiring' | 'shutting_down' = 'starting';
handleSignals();

const sdk = await startSdk(settings, log); // Before any other module gets its meter.
const workerGroup = joinWorkerGroup(sdk.collectMetrics, log);
const stores = await createStores(settings, log).catch(failStartup);
const gateway = createGateway({ settings, stores, log });
const started = Promise.withResolvers<void>();
const operations = createOperations({
  started: started.promise,
  isShuttingDown: () => state === 'shutting_down',
  dependencies: () => ({ redis: stores.state(), campaignServiceCircuit: gateway.upstream.circuit() }),
  workerGroup,
  token: settings.OPS_TOKEN,
  postInvalidations: postInvalidations(createInvalidationSchema(publicEndpoints(settings)), stores.invalidate),
});

// The public port is the last step: a start that fails or is interrupted has accepted no request.
const operationsUrl = await listen(operations, settings.OPS_HOST, 'OPS_PORT').catch(failStartup);
const publicUrl = await listen(gateway.server, settings.HOST, 'PORT').catch(failStartup);
state = 'serving';
started.resolve();
log.info(
  { public: publicUrl, operations: operationsUrl, version, node: process.version, ...describeDependencies() },
  'listening',
);
void workerGroup.replaced.then(retire);
await workerGroup.reportReady();
if (cluster.isPrimary) log.info({ workers: settings.WORKERS }, 'ready');

function loadSettingsOrExit(): Settings {
  try {
    return loadSettings(process.env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EX_CONFIG);
  }
}

/** Settings that are valid, but probably not intended. */
function findWarnings(): string[] {
  const { MAX_CONNECTIONS, CAMPAIGN_SERVICE_MAX_CONCURRENCY } = settings;
  const shortage = findOpenFileShortage(MAX_CONNECTIONS + CAMPAIGN_SERVICE_MAX_CONCURRENCY);
  return [
    ...findMisspellings(process.env),
    ...findUnusedSettings(settings),
    ...(shortage === undefined ? [] : [shortage]),
  ];
}

function handleSignals(): void {
  if (cluster.isWorker) {
    // Ctrl-C and a closed terminal signal the whole process group: workers leave both to the primary.
    for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
    process.on('SIGTERM', shutDown);
  } else {
    onShutdownSignal(shutDown, () => process.exit(1));
    process.on('SIGHUP', () => log.warn('SIGHUP ignored: a single process cannot restart its workers (WORKERS=1)'));
  }
}

/** Logs one sentence without a stack: the cause is outside this program. */
function failStartup(error: Error): never {
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  log.fatal({ error: error.message, cause }, 'the gateway cannot start');
  process.exit(1);
}

/** Returns the URL of the listener. */
async function listen(server: Server, host: string, portSetting: 'PORT' | 'OPS_PORT'): Promise<string> {
  const port = settings[portSetting];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, host, backlog: BACKLOG }, resolve);
  await promise.catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EADDRINUSE') throw new Error(`${portSetting} ${port} is already in use`, { cause });
    throw new Error(`cannot listen on ${host} with ${portSetting} ${port}`, { cause });
  });
  server.off('error', reject);
  const { address, port: boundPort } = server.address() as AddressInfo;
  return formatHttpUrl(address, boundPort);
}

function describeDependencies() {
  const { origin, pathname } = settings.CAMPAIGN_SERVICE_URL; // Without credentials.
  return {
    ...describeStore(),
    campaign_service: origin + pathname.replace(/\/$/, ''),
    workers: settings.WORKERS,
  };
}

/** The topology, servers and database of Redis are in its URL. */
function describeStore() {
  const { REDIS_URL, KEYS_FILE } = settings;
  if (REDIS_URL === undefined) return { store: 'embedded', keys_file: KEYS_FILE };
  return { store: 'redis', redis_url: maskCredentials(REDIS_URL) };
}

// Stop

/** Unready at once; open for `SHUTDOWN_DELAY_MS`, so that load balancers notice; then drained. */
async function shutDown(signal: NodeJS.Signals): Promise<void> {
  if (state === 'starting') process.exit(0); // No request of a client is in flight.
  const isDraining = state !== 'serving';
  state = 'shutting_down';
  if (isDraining) return;
  const startedAt = performance.now();
  log.info({ signal }, 'shutting down');
  await gateway.drain({ delayMs: settings.SHUTDOWN_DELAY_MS, graceMs: settings.SHUTDOWN_GRACE_MS });
  await drain(operations, { announcedMs: performance.now() - startedAt, graceMs: OPERATIONS_GRACE_MS });
  await exit();
}

/** Stays ready: another worker already accepts the connections of the shared ports. */
async function retire(): Promise<void> {
  if (state !== 'serving') return;
  state = 'retiring';
  log.info('retiring: replaced by a new worker');
  await Promise.all([
    gateway.drain({ graceMs: settings.SHUTDOWN_GRACE_MS }),
    drain(operations, { graceMs: OPERATIONS_GRACE_MS }),
  ]);
  await exit();
}

async function exit(): Promise<never> {
  await stores.close();
  await workerGroup.sendFinalMetrics();
  await sdk.shutDown();
  log.info('stopped');
  process.exit(0);
}
