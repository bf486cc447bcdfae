import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createFolder } from '../helpers/folder.ts';
import { until } from '../helpers/wait.ts';
import { isListening } from '../helpers/workers.ts';

const demo = path.resolve(import.meta.dirname, '../../src/sample/demo.ts');

/** Starts the demo in its own process group, as a terminal does, with a folder for temporary files. */
function startDemo(settings: Record<string, string> = {}) {
  const folder = createFolder();
  const env = { PATH: process.env['PATH'] ?? '', TMPDIR: folder, PORT: '0', OPS_PORT: '0', ...settings };
  const child = spawn(process.execPath, [demo], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const running = { folder, group: -Number(child.pid), exited: once(child, 'exit'), output: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      running.output += text;
    });
  }
  return running;
}

test('the demo prints four responses, working curl lines and a revalidation, and Ctrl-C stops all its processes', async () => {
  const running = startDemo();
  await until(() => running.output.includes('Press Ctrl-C to stop.'));
  const { output } = running;
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

  process.kill(running.group, 'SIGINT');
  expect(await running.exited).toEqual([0, null]);
  expect(await Promise.all(urls.map(isListening))).toEqual([false, false]);
});

test.each([
  ['its terminal closes', 'SIGHUP', 'Press Ctrl-C to stop.', 0, {}],
  ['Ctrl-C is pressed while it starts', 'SIGINT', '', 0, {}],
  ['PORT is invalid', undefined, 'PORT', 1, { PORT: '99999' }],
  ['it is refused in production', undefined, 'NODE_ENV=production', 64, { NODE_ENV: 'production' }],
] as const)(
  'the demo leaves no process and no file, and prints no stack, if %s',
  async (_what, signal, text, code, settings) => {
    const running = startDemo(settings);
    const { folder, group, exited } = running;
    if (signal) {
      await until(async () => running.output.includes(text) && (await readdir(folder, { recursive: true })).length > 1);
      process.kill(group, signal);
    }
    expect(await exited).toEqual([code, null]);
    expect(() => process.kill(group, 0)).toThrow('ESRCH');
    expect(await readdir(folder)).toEqual([]);
    expect(running.output).toContain(text);
    expect(running.output).not.toMatch(/^ +at /m);
  },
);
