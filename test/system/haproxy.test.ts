import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { isInstalled } from '../helpers/debian-package.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { Load, longTimeouts, unexpected } from '../helpers/load.ts';
import { Processes } from '../helpers/processes.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { linesOf, startWorkers } from '../helpers/workers.ts';

/** HAProxy with the configuration of the compose file, and these gateways instead of those that DNS would return. */
async function startHaproxy(gateways: readonly GatewayProcess[]): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-haproxy-'));
  const text = await readFile(path.resolve(import.meta.dirname, '../../config/compose/haproxy.cfg'), 'utf8');
  const servers = gateways.map(({ url, operationsUrl }, i) => {
    const [{ host }, { port }] = [new URL(url), new URL(operationsUrl)];
    return `  server gateway${i} ${host} check port ${port} inter 500 fall 1 rise 1`;
  });
  const config = text
    .replace(/^resolvers [\s\S]*?\n\n/m, '')
    .replace(/^ {2}default-server .*\n/m, '')
    .replace(/^ {2}server-template .*$/m, servers.join('\n'));
  await writeFile(path.join(folder, 'haproxy.cfg'), config);
  const LISTEN = `127.0.0.1:${await freePort()}`;
  const processes = new Processes();
  const haproxy = processes.start(['haproxy', '-f', path.join(folder, 'haproxy.cfg')], {
    env: { LISTEN, PATH: process.env['PATH'] ?? '' },
  });
  onTestFinished(async () => {
    await processes.stop();
    await rm(folder, { recursive: true });
  });
  await until(async () => {
    haproxy.throwIfExited();
    return (await fetch(`http://${LISTEN}/openapi.json`).catch(() => undefined))?.ok;
  });
  return `http://${LISTEN}`;
}

test.skipIf(!isInstalled('haproxy')).each(['1', '2'])(
  'HAProxy balances over the gateways, passes the client address on, and loses no request while one of %s worker(s) drains',
  async (WORKERS) => {
    const stack = await Stack.start();
    onTestFinished(() => stack.stop());
    const environment = { ...longTimeouts, WORKERS, TRUST_PROXY: '1', SHUTDOWN_DELAY_MS: '5000' };
    const gateways = await Promise.all([startWorkers(stack, environment), startWorkers(stack, environment)]);
    const address = (await startHaproxy(gateways)) + campaignPath;
    const keys = await Promise.all([1, 2, 3].map(() => stack.key({ rateLimits: ['1000000/1s'] })));
    const loads = [new Load([address], keys), new Load([address], keys, { keepAlive: false })];
    const served = (gateway: GatewayProcess) =>
      linesOf(gateway, 'request completed').filter(({ status }) => status === 200);
    await until(() => gateways.every((gateway) => served(gateway).length > 0));
    gateways[0].process.kill('SIGTERM');
    expect(await gateways[0].exited()).toBe(0);
    await Promise.all(loads.map((load) => load.more(20)));
    const tallies = await Promise.all(loads.map((load) => load.stop()));
    expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
    const addresses = gateways.flatMap((gateway) => served(gateway).map((line) => line['client_address']));
    expect(new Set(addresses)).toEqual(new Set(['127.0.0.1']));
  },
);
