import cluster from 'node:cluster';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { createGateway } from './gateway.ts';
import { drain } from './http/drain.ts';
import { formatHttpUrl } from './http/format-url.ts';
import { createOperations } from './operations/operations.ts';
import type { Settings } from './settings/definitions.ts';
import { loadSettings, SettingsError } from './settings/load.ts';
import { createStores } from './stores.ts';
import { createLog } from './telemetry/log.ts';
import { startMetrics } from './telemetry/metrics.ts';
import { startSdk } from './telemetry/sdk.ts';
import { version } from './version.ts';
import { superviseWorkers } from './workers/supervisor.ts';
import { joinWorkerGroup } from './workers/worker-group.ts';

/** sysexits.h: something was found in an unconfigured or misconfigured state. */
const EX_CONFIG = 78;

/** Connections that wait to be taken; the system has its own bound besides. Beyond it clients try again after a second. */
const BACKLOG = 4096;

// V8 holds what is allocated where much has survived once for long-lived, and puts it where garbage is seldom collected. After a
// cold start under load, where many requests wait for one answer, that was most of every later one, for good.
setFlagsFromString('--no-allocation-site-pretenuring');

const settings = loadSettingsOrExit();
const log = createLog(settings);

process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, 'uncaught exception');
  process.exit(1);
});

if (settings.WORKERS > 1 && cluster.isPrimary) await superviseWorkers(settings, log);

const sdk = await startSdk(settings, log);
const workerGroup = joinWorkerGroup(startMetrics(sdk), log); // Before anything that counts asks for its meter.
const stores = await createStores(settings, log).catch(failStartup);
const gateway = createGateway({ settings, stores, log });
let ending = false;
let shuttingDown = false;
const operations = createOperations({
  isShuttingDown: () => shuttingDown,
  dependencies: () => ({ redis: stores.state(), campaignServiceCircuit: gateway.upstream.state().circuit }),
  workerGroup: workerGroup,
});

process.on('SIGTERM', shutDown);
process.on('SIGINT', cluster.isWorker ? () => {} : shutDown); // Ctrl-C reaches the workers too; theirs comes from the primary.
process.on(
  'SIGHUP',
  cluster.isWorker
    ? () => {}
    : () => log.warn('SIGHUP ignored: a single process cannot restart its workers (WORKERS=1)'),
);

const publicAddress = await listen(gateway.server, settings.HOST, settings.PORT).catch(failStartup);
const operationsAddress = await listen(operations, settings.OPS_HOST, settings.OPS_PORT).catch(failStartup);
log.info(
  {
    public: publicAddress,
    operations: operationsAddress,
    version,
    node: process.version,
  },
  'listening',
);
void workerGroup.replaced.then(retire);

/** Something outside is not as it has to be: a sentence, not a stack. */
function failStartup(error: Error): never {
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  log.fatal({ error: error.message, cause }, 'the gateway cannot start');
  process.exit(1);
}

function loadSettingsOrExit(): Settings {
  try {
    return loadSettings(process.env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EX_CONFIG);
  }
}

async function listen(server: Server, host: string, port: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, host, backlog: BACKLOG }, resolve);
  await promise;
  server.off('error', reject);
  const { address, port: boundPort } = server.address() as AddressInfo;
  return formatHttpUrl(address, boundPort);
}

/** Unready at once; then the delay for load balancers, then the drain. A second signal ends the process at once. */
async function shutDown(signal: NodeJS.Signals): Promise<void> {
  if (ending && !cluster.isWorker) process.exit(1);
  shuttingDown = true;
  if (ending) return; // A signal to the whole group comes twice: itself, and from the primary.
  ending = true;
  log.info({ signal }, 'shutting down');
  await gateway.drain({ delayMs: settings.SHUTDOWN_DELAY_MS, graceMs: settings.SHUTDOWN_GRACE_MS });
  operations.close();
  operations.closeAllConnections();
  await exit();
}

/** The ports stay open, for another worker listens there: the gateway is ready all the while. */
async function retire(): Promise<void> {
  if (ending) return;
  ending = true;
  log.info('retiring: replaced by a new worker');
  const graceMs = settings.SHUTDOWN_GRACE_MS;
  await Promise.all([gateway.drain({ graceMs }), drain(operations, { graceMs })]);
  await exit();
}

async function exit(): Promise<never> {
  await stores.close();
  await workerGroup.sendFinalMetrics();
  await sdk.shutDown();
  log.info('stopped');
  process.exit(0);
}
