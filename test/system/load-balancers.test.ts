import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { isInstalled } from '../helpers/debian-package.ts';
import { expectError } from '../helpers/envelope.ts';
import { createFolder } from '../helpers/folder.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { Load, longTimeouts, unexpected } from '../helpers/load.ts';
import { startNginx } from '../helpers/nginx.ts';
import { freePort } from '../helpers/redis.ts';
import { startServerProgram } from '../helpers/server-program.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { linesOf, startWorkers } from '../helpers/workers.ts';

const stack = useStack();

/** HAProxy with the configuration of the compose file, and these gateways instead of those that DNS would return. */
async function startHaproxy(gateways: readonly GatewayProcess[]): Promise<string> {
  const text = await readFile(path.resolve(import.meta.dirname, '../../config/compose/haproxy.cfg'), 'utf8');
  const servers = gateways.map(({ url, operationsUrl }, i) => {
    const [{ host }, { port }] = [new URL(url), new URL(operationsUrl)];
    return `  server gateway${i} ${host} check port ${port} inter 500 fall 1 rise 1`;
  });
  const config = text
    .replace(/^resolvers [\s\S]*?\n\n/m, '')
    .replace(/^ {2}default-server .*\n/m, '')
    .replace(/^ {2}server-template .*$/m, servers.join('\n'));
  const configFile = path.join(createFolder(), 'haproxy.cfg');
  await writeFile(configFile, config);
  const LISTEN = `127.0.0.1:${await freePort()}`;
  const ready = { url: `http://${LISTEN}/openapi.json`, env: { LISTEN } };
  onTestFinished(await startServerProgram(['haproxy', '-f', configFile], ready));
  return `http://${LISTEN}`;
}

const served = (gateway: GatewayProcess) =>
  linesOf(gateway, 'request completed').filter(({ status }) => status === 200);

test.skipIf(!isInstalled('haproxy'))(
  'HAProxy balances over the gateways, passes the client address on, and loses no request while one of them drains',
  async () => {
    const environment = { ...longTimeouts, WORKERS: '2', TRUST_PROXY: '1', SHUTDOWN_DELAY_MS: '5000' };
    const gateways = await Promise.all([startWorkers(stack, environment), startWorkers(stack, environment)]);
    const address = (await startHaproxy(gateways)) + campaignPath;
    const keys = await Promise.all([1, 2, 3].map(() => stack.key({ rateLimits: ['1000000/1s'] })));
    const loads = [new Load([address], keys), new Load([address], keys, { keepAlive: false })];
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

test.skipIf(!isInstalled('nginx'))(
  'nginx responds with a 503 envelope when no gateway is available, and passes the client address on to one that is',
  async () => {
    const nginx = await startNginx();
    onTestFinished(() => nginx.stop());
    const response = await fetch(nginx.url + campaignPath);
    const [headers, text] = [new Headers(response.headers), await response.text()];
    headers.delete('server'); // nginx always sends it.
    expectError({ status: response.status, headers, text, body: JSON.parse(text) }, 'OVERLOADED');
    expect(headers.get('retry-after')).toBe('1');

    const gateway = await stack.gatewayProcess({ TRUST_PROXY: '1' });
    await nginx.use([gateway.url]);
    const forged = { 'x-api-key': await stack.key(), 'x-forwarded-for': '203.0.113.9' };
    const read = () => fetch(nginx.url + campaignPath, { headers: forged }).catch(() => undefined);
    await until(async () => (await read())?.status === 200);
    const line = await until(() => served(gateway)[0]);
    expect(line['client_address']).toBe('127.0.0.1');
  },
);
