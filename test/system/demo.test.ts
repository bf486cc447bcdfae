import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../helpers/gateway.ts';
import { until } from '../helpers/wait.ts';

const demo = path.resolve(import.meta.dirname, '../../src/sample/demo.ts');

test('the demo prints four responses, working curl lines and a revalidation, and Ctrl-C stops all its processes', async () => {
  const child = spawn(process.execPath, [demo], {
    env: { PATH: process.env['PATH'] ?? '', PORT: '0', OPS_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  await until(() => output.includes('Press Ctrl-C to stop.'));
  expect([...output.matchAll(/^# .*: (\d{3})$/gm)].map(([, status]) => status)).toEqual(['200', '404', '403', '502']);
  expect(output).toContain('\ncampaign_gateway_upstream_reads_total{outcome="not_modified"} 1\n');
  expect(output).not.toContain('workflow"');

  const lines = [...output.matchAll(/^curl -i -H 'X-API-Key: (\S+)' (\S+)$/gm)];
  const statuses = [];
  for (const [, key = '', url = ''] of lines) {
    statuses.push((await fetch(url, { headers: { 'x-api-key': key } })).status);
  }
  expect(statuses).toEqual([200, 404, 403, 502]);
  const [service = '', gateway = ''] = ['Campaign service', 'Gateway'].map(
    (name) => new RegExp(`^${name} +(\\S+)`, 'm').exec(output)?.[1],
  );
  expect([service, gateway]).toEqual([expect.stringMatching(/^http/), expect.stringMatching(/^http/)]);

  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  for (const url of [service, gateway]) await expect(fetch(url)).rejects.toThrow();
});

test('the demo refuses to run with NODE_ENV=production', async () => {
  const { code, stdout, stderr } = await runProgram('src/sample/demo.ts', [], { NODE_ENV: 'production' });
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/NODE_ENV=production/);
});
