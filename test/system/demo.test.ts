import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../helpers/gateway.ts';
import { until } from '../helpers/wait.ts';
import { isListening } from '../helpers/workers.ts';

const demo = path.resolve(import.meta.dirname, '../../src/sample/demo.ts');

test('the demo prints four responses, working curl lines and a revalidation, and Ctrl-C stops all its processes', async () => {
  const env = { PATH: process.env['PATH'] ?? '', PORT: '0', OPS_PORT: '0' };
  const child = spawn(process.execPath, [demo], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  await until(() => output.includes('Press Ctrl-C to stop.'));
  expect([...output.matchAll(/^# .*: (\d{3})$/gm)].map(([, status]) => status)).toEqual(['200', '404', '403', '502']);
  expect(output).toContain('\ncampaign_gateway_upstream_reads_total{outcome="not_modified"} 1\n');
  expect(output).not.toContain('workflow"');

  const statuses = [];
  for (const [, key = '', url = ''] of output.matchAll(/^curl -i -H 'X-API-Key: (\S+)' (\S+)$/gm)) {
    statuses.push((await fetch(url, { headers: { 'x-api-key': key } })).status);
  }
  expect(statuses).toEqual([200, 404, 403, 502]);
  const urls = [...output.matchAll(/^(?:Campaign service|Gateway) +(http\S+)/gm)].map(([, url = '']) => url);
  expect(urls).toHaveLength(2);

  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(await Promise.all(urls.map(isListening))).toEqual([false, false]);
});

test('the demo refuses to run with NODE_ENV=production', async () => {
  const { code, stdout, stderr } = await runProgram('src/sample/demo.ts', [], { NODE_ENV: 'production' });
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/NODE_ENV=production/);
});
