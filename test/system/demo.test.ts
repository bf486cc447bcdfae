import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createFolder } from '../helpers/folder.ts';
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

test.each([
  ['its terminal closes', 'SIGHUP', 'Press Ctrl-C to stop.', 0, {}],
  ['Ctrl-C is pressed while it starts', 'SIGINT', '', 0, {}],
  ['PORT is invalid', undefined, '', 1, { PORT: '99999' }],
] as const)(
  'the demo leaves no process and no file, and prints no stack, if %s',
  async (_what, signal, text, code, settings) => {
    const folder = createFolder();
    const env = { PATH: process.env['PATH'] ?? '', TMPDIR: folder, PORT: '0', OPS_PORT: '0', ...settings };
    const child = spawn(process.execPath, [demo], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const group = -Number(child.pid);
    const exited = once(child, 'exit');
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (data) => {
        output += data;
      });
    }
    if (signal) {
      await until(async () => output.includes(text) && (await readdir(folder, { recursive: true })).length > 1);
      process.kill(group, signal);
    }
    expect(await exited).toEqual([code, null]);
    expect(() => process.kill(group, 0)).toThrow('ESRCH');
    expect(await readdir(folder)).toEqual([]);
    expect(output).not.toMatch(/^ +at /m);
  },
);

test('the demo refuses to run with NODE_ENV=production', async () => {
  const { code, stdout, stderr } = await runProgram('src/sample/demo.ts', [], { NODE_ENV: 'production' });
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/NODE_ENV=production/);
});
