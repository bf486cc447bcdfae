import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { faults } from './faults.ts';

/**
 * `npm run demo`: runs the gateway with embedded stores in front of the sample campaign service, creates a demo key and
 * prints sample requests. All data is in a temporary folder. Ctrl-C or a closed terminal stops both processes and removes it.
 */
const root = path.resolve(import.meta.dirname, '../..');

if (process.env['NODE_ENV'] === 'production') {
  console.error('The demo creates a key and serves sample data. It does not run with NODE_ENV=production.');
  process.exit(64);
}

const folder = mkdtempSync(path.join(tmpdir(), 'campaign-gateway-demo-'));
const children: ChildProcess[] = [];
let isStopping = false;
// SIGHUP: the terminal closes.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => stop(0));
process.on('uncaughtException', ({ message }) => {
  if (!isStopping) console.error(`\nThe demo failed: ${message}`);
  void stop(1);
});

const [service = ''] = await start(
  'src/sample/campaign-service.ts',
  { SAMPLE_PORT: '0' },
  /^sample campaign service: (\S+)/,
);
const settings = {
  PORT: await preferPort(process.env['PORT'] || '8080'),
  OPS_PORT: await preferPort(process.env['OPS_PORT'] || '9090'),
  HOST: '127.0.0.1',
  LOG_LEVEL: 'info',
  CAMPAIGN_SERVICE_URL: service,
  KEYS_FILE: path.join(folder, 'keys.json'),
};
const key = await createDemoKey();
const [gateway = '', operations = ''] = await start(
  'src/main.ts',
  settings,
  /"public":"([^"]+)","operations":"([^"]+)"/,
);

const examples = [
  ['A campaign, without its workflow definitions', 'ag_north/campaigns/cmp_3'],
  ['A campaign that does not exist', 'ag_north/campaigns/cmp_999'],
  ['An account group that the key has no access to', 'ag_west/campaigns/cmp_3'],
  ['A campaign for which the campaign service closes the connection early', 'ag_north/campaigns/cmp_truncated'],
] as const;

for (const [title, target] of examples) {
  const url = `${gateway}/v1/accounts/${target}`;
  const response = await fetch(url, { headers: { 'x-api-key': key } });
  console.log(`\n# ${title}: ${response.status}\ncurl -i -H 'X-API-Key: ${key}' ${url}`);
  console.log(JSON.stringify(await response.json(), null, 2));
}
await showRevalidation();
console.log(`
Gateway             ${gateway}
Reference page      ${gateway}/docs
Operations          ${operations}/readyz
Campaign service    ${service}
Demo key            ${key}  (ag_north and ag_south)

Other campaigns: cmp_1 … cmp_10 in ag_north, cmp_11 … cmp_20 in ag_south.
With faults: ${Object.keys(faults).join(', ')}.
Press Ctrl-C to stop.`);

/** Starts a program of this repository, waits for a line that matches `ready`, and returns its capture groups. */
async function start(program: string, environment: Record<string, string>, ready: RegExp): Promise<string[]> {
  if (isStopping) return new Promise(() => {});
  const child = spawn(process.execPath, [path.join(root, program)], {
    env: { PATH: process.env['PATH'], ...environment }, // Without the settings of the shell, which may name a real Redis.
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  child.once('exit', async (code) => {
    await setImmediate(); // Ctrl-C reaches the child as well, and its exit may be reported before the signal.
    if (!isStopping) console.error(`\n${program} exited with code ${code}.`);
    void stop(1);
  });
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    const match = ready.exec(line);
    if (!match) continue;
    child.stdout.resume();
    return match.slice(1);
  }
  return new Promise(() => {}); // The process has exited; its `exit` listener stops the demo.
}

/** An event that a campaign has changed. The next read starts a refresh, to which the campaign service responds with 304. */
async function showRevalidation(): Promise<void> {
  const event = JSON.stringify({ accountGroupId: 'ag_north', campaignId: 'cmp_3' });
  await fetch(`${operations}/cache/invalidations`, { method: 'POST', body: event });
  const target = `${gateway}/v1/accounts/ag_north/campaigns/cmp_3`;
  const response = await fetch(target, { headers: { 'x-api-key': key } });
  console.log(`\n# The campaign after an event: ${response.status}, ${response.headers.get('cache-status')}`);
  console.log(`curl -X POST -d '${event}' ${operations}/cache/invalidations`);
  const revalidated = 'campaign_gateway_upstream_reads_total{outcome="not_modified"}';
  for (let attempt = 0; attempt < 50; attempt++) {
    const metrics = await (await fetch(`${operations}/metrics`)).text();
    const line = metrics.split('\n').find((one) => one.startsWith(revalidated));
    if (line !== undefined) return console.log(line);
    await setTimeout(20);
  }
}

async function createDemoKey(): Promise<string> {
  if (isStopping) return new Promise(() => {});
  const groups = ['--account-group', 'ag_north', '--account-group', 'ag_south'];
  const command = ['keys', 'create', '--name', 'demo', '--permission', 'campaigns:read', ...groups, '--json'];
  const env = { PATH: process.env['PATH'], ...settings };
  const created = promisify(execFile)(process.execPath, [path.join(root, 'src/cli/main.ts'), ...command], { env });
  children.push(created.child);
  return JSON.parse((await created).stdout).key;
}

/** Returns `preferred`, or 0 if it is in use: the gateway then takes any free port. It reports every other problem itself. */
async function preferPort(preferred: string): Promise<string> {
  try {
    const probe = createServer().listen(Number(preferred), '127.0.0.1');
    await once(probe, 'listening');
    await once(probe.close(), 'close');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return '0';
  }
  return preferred;
}

async function stop(code: number): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  const running = children.filter((child) => child.exitCode === null && child.signalCode === null);
  for (const child of running) child.kill('SIGTERM');
  await Promise.all(running.map((child) => once(child, 'exit')));
  await rm(folder, { recursive: true, force: true });
  process.exit(code);
}
