import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/**
 * `npm run demo`: the gateway with its embedded stores in front of the sample campaign service, a demo key, and requests
 * to paste. Everything is in processes of its own and in a folder of its own; Ctrl-C ends it all.
 */
const root = path.resolve(import.meta.dirname, '../..');

if (process.env['NODE_ENV'] === 'production') {
  console.error('The demo makes a key and serves sample data: it does not run with NODE_ENV=production.');
  process.exit(64);
}

const folder = await mkdtemp(path.join(tmpdir(), 'campaign-gateway-demo-'));
const children: ChildProcess[] = [];
let ending = false;
process.on('SIGINT', () => end(0));
process.on('SIGTERM', () => end(0));

const service = await start('src/sample/campaign-service.ts', { SAMPLE_PORT: '0' }, /^sample campaign service: (\S+)/);
const settings = {
  PORT: String(await freePort(Number(process.env['PORT'] || 8080))),
  OPS_PORT: String(await freePort(Number(process.env['OPS_PORT'] || 9090))),
  HOST: '127.0.0.1',
  LOG_LEVEL: 'info',
  CAMPAIGN_SERVICE_URL: service,
  KEYS_FILE: path.join(folder, 'keys.json'),
};
const key = await createDemoKey();
await start('src/main.ts', settings, /"msg":"listening"/);

const gateway = `http://127.0.0.1:${settings.PORT}`;
const examples = [
  ['A campaign, without its workflow definitions', 'ag_north/campaigns/cmp_3'],
  ['A campaign that is not there', 'ag_north/campaigns/cmp_999'],
  ['An account group that the key was not given', 'ag_west/campaigns/cmp_3'],
  ['A campaign for which the campaign service breaks off', 'ag_north/campaigns/cmp_broken_off'],
] as const;

for (const [title, target] of examples) {
  const url = `${gateway}/v1/accounts/${target}`;
  const answer = await fetch(url, { headers: { 'x-api-key': key } });
  console.log(`\n# ${title}: ${answer.status}\ncurl -i -H 'X-API-Key: ${key}' ${url}`);
  console.log(JSON.stringify(await answer.json(), null, 2));
}
console.log(`
Gateway             ${gateway}
Operations          http://127.0.0.1:${settings.OPS_PORT}/readyz
Campaign service    ${service}
Demo key            ${key}  (ag_north and ag_south)

Other campaigns: cmp_1 … cmp_10 in ag_north, cmp_11 … cmp_20 in ag_south. Troubled ones: cmp_slow, cmp_silent, cmp_error,
cmp_unavailable, cmp_broken_json, cmp_reset, cmp_html, cmp_redirect, cmp_too_large, cmp_incomplete, cmp_gone.
Ctrl-C ends it all.`);

/** Starts a program of this repository and waits for the line that says it is up; gives what the line's group caught. */
async function start(program: string, environment: Record<string, string>, up: RegExp): Promise<string> {
  const child = spawn(process.execPath, [path.join(root, program)], {
    env: { PATH: process.env['PATH'], ...environment }, // Not the shell's own settings: those may name a real Redis.
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  child.once('exit', (code) => {
    if (!ending) console.error(`\n${program} ended with ${code}.`);
    void end(1);
  });
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    const match = up.exec(line);
    if (!match) continue;
    child.stdout.resume();
    return match[1] ?? '';
  }
  return new Promise(() => {}); // It has ended, and `exit` ends the demo.
}

async function createDemoKey(): Promise<string> {
  const words =
    'keys create --name demo --permission campaigns:read --account-group ag_north --account-group ag_south --json';
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [path.join(root, 'src/cli/main.ts'), ...words.split(' ')],
    {
      env: { PATH: process.env['PATH'], ...settings },
    },
  );
  return JSON.parse(stdout).key;
}

/** `wanted` if nobody listens there, else any free port. */
async function freePort(wanted: number): Promise<number> {
  const probe = createServer();
  const bound = await new Promise<boolean>((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(wanted, '127.0.0.1', () => resolve(true));
  });
  if (!bound) return freePort(0);
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' && address ? address.port : wanted;
}

async function end(code: number): Promise<void> {
  if (ending) return;
  ending = true;
  const running = children.filter((child) => child.exitCode === null && child.signalCode === null);
  for (const child of running) child.kill('SIGTERM');
  await Promise.all(running.map((child) => once(child, 'exit')));
  await rm(folder, { recursive: true, force: true });
  process.exit(code);
}
