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

test.skipIf(!isInstalled('haproxy'))(
  'HAProxy balances over the gateways, passes the client address on, and loses no request while a gateway drains',
  async () => {
    const stack = await Stack.start();
    onTestFinished(() => stack.stop());
    const environment = { ...longTimeouts, TRUST_PROXY: '1', SHUTDOWN_DELAY_MS: '5000' };
    const gateways = await Promise.all([stack.gatewayProcess(environment), stack.gatewayProcess(environment)]);
    const url = await startHaproxy(gateways);
    const load = new Load([url + campaignPath], [await stack.key({ rateLimits: ['1000000/1s'] })]);
    const served = ({ log }: GatewayProcess) =>
      log.filter(({ msg, status }) => msg === 'request completed' && status === 200);
    await until(() => gateways.every((gateway) => served(gateway).length > 0));
    gateways[0].process.kill('SIGTERM');
    expect(await gateways[0].exited()).toBe(0);
    await load.more(20);
    expect(unexpected(await load.stop())).toEqual([]);
    const addresses = gateways.flatMap((gateway) => served(gateway).map((line) => line['client_address']));
    expect(new Set(addresses)).toEqual(new Set(['127.0.0.1']));
  },
);
