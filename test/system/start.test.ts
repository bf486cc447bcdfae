import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();

/** Runs a gateway that cannot start. Returns its exit code and its log. */
async function runGateway(environment: Record<string, string>) {
  const ports = { HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0' };
  const { code, stdout } = await runProgram('src/main.ts', [], { ...stack.environment, ...ports, ...environment });
  const lines = stdout.trim().split('\n');
  return { code, stdout, log: lines.map((line) => JSON.parse(line)) };
}

test('the operations listener serves liveness and readiness, and no route of the public listener', async () => {
  const gateway = await stack.gatewayProcess();
  const request = async (path: string, method = 'GET') => {
    const response = await fetch(gateway.operationsUrl + path, { method });
    return [response.status, await response.text()];
  };
  expect(await request('/livez')).toEqual([200, '{"status":"alive"}']);
  const dependencies = '{"redis":"up","campaignServiceCircuit":"closed"}';
  expect(await request('/readyz')).toEqual([200, `{"status":"ready","dependencies":${dependencies}}`]);
  expect(await request('/readyz', 'POST')).toEqual([405, '{"error":"Use GET."}']);
  expect((await request(campaignPath))[0]).toBe(404);
  expect((await get(`${gateway.url}/livez`)).status).toBe(404);
});

test('the log states the addresses, the store and the campaign service when both listeners accept connections', async () => {
  const gateway = await stack.gatewayProcess({ REDIS_URL: stack.redis.url.replace('//', '//default:hunter2@') });
  expect(gateway.log.find(({ msg }) => msg === 'listening')).toMatchObject({
    public: gateway.url,
    operations: gateway.operationsUrl,
    store: 'redis',
    redis_url: stack.redis.url.replace('//', '//***@'),
    campaign_service: stack.upstream.url,
    workers: 1,
  });
  await until(() => gateway.log.find(({ msg, workers }) => msg === 'ready' && workers === 1));
});

test('a limit on open files below what MAX_CONNECTIONS needs is a warning', () => {
  const command = ['-c', 'ulimit -n 2000 && exec "$0" src/main.ts', process.execPath];
  const env = { ...stack.environment, HOST: '192.0.2.1', MAX_CONNECTIONS: '10000' }; // It cannot listen, and exits.
  const cwd = path.resolve(import.meta.dirname, '../..');
  const { stdout } = spawnSync('sh', command, { cwd, env, encoding: 'utf8' });
  expect(stdout).toContain('the limit on open files is 2000: raise it to 10356');
});

test.each([
  ['PORT', '2'],
  ['OPS_PORT', '1'],
])('if the port of %s is in use, a gateway with WORKERS=%s logs which, and exits 1', async (name, WORKERS) => {
  const { port } = new URL(stack.upstream.url);
  const { code, stdout, log } = await runGateway({ WORKERS, [name]: port });
  expect(code).toBe(1);
  expect(log).toContainEqual(
    expect.objectContaining({
      level: 'fatal',
      msg: 'the gateway cannot start',
      error: `${name} ${port} is already in use`,
      cause: expect.stringContaining('EADDRINUSE'),
    }),
  );
  expect(stdout).not.toContain('restarting it');
});

test('the public port opens last: if both ports are in use, the gateway fails at OPS_PORT', async () => {
  const { port } = new URL(stack.upstream.url);
  const { log } = await runGateway({ PORT: port, OPS_PORT: port });
  expect(log).toMatchObject([{ level: 'fatal', error: `OPS_PORT ${port} is already in use` }]);
});

test('a corrupt keys file prevents the start, and is not quoted', async () => {
  const { code, stdout, log } = await runGateway({ REDIS_URL: '', KEYS_FILE: '/etc/passwd' });
  expect(code).toBe(1);
  expect(log).toMatchObject([{ msg: 'the gateway cannot start', error: expect.stringContaining('/etc/passwd') }]);
  expect(stdout).not.toContain('root:');
});

test('a worker that fails to start ends all processes with its exit code', async () => {
  const statement = `if (process.env.CAMPAIGN_GATEWAY_WORKER === '2') process.exit(78)`;
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(statement)}`;
  const { code, stdout } = await runGateway({ WORKERS: '2', NODE_OPTIONS });
  expect(code).toBe(78);
  expect(stdout).toContain('a worker failed to start');
});
