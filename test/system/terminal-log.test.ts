import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { isListening } from '../helpers/workers.ts';

const main = `"${process.execPath}" "${path.resolve(import.meta.dirname, '../../src/main.ts')}"`;
const isUtilLinux = spawnSync('script', ['--version']).stdout?.includes('util-linux') ?? false;

describe.skipIf(!isUtilLinux)('a gateway on a terminal', () => {
  let stack: Stack;

  beforeAll(async () => {
    stack = await Stack.start();
  });
  afterAll(() => stack.stop());

  /** `script`, of util-linux, runs its command on a pseudo-terminal. */
  function startOnTerminal(command: string, environment: Record<string, string>) {
    const settings = { TERM: 'xterm-256color', HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', ...stack.environment };
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { PATH: process.env['PATH'] ?? '', ...settings, ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
    /** Waits until this many processes listen, and returns their URL. */
    const untilListening = (count: number) =>
      until(() => {
        const urls = [...output.matchAll(/listening.*"public":"(http:\/\/127\.0\.0\.1:\d+)"/g)];
        return urls.length === count ? urls[0]?.[1] : undefined;
      });
    return { child, output: () => output, untilListening };
  }

  test('writes readable lines, and a request line begins with status, method and route', async () => {
    const { child, output, untilListening } = startOnTerminal(`exec ${main}`, { NO_COLOR: '1' });
    await get((await untilListening(1)) + campaignPath);
    await until(() => /401 GET [^\n]*\n/.test(output()));
    const closed = once(child, 'close');
    child.stdin.write('\u0003'); // Ctrl-C
    await closed;
    const text = output().replaceAll('\r\n', '\n');
    const route = '/v1/accounts/\\{accountGroupId\\}/campaigns/\\{campaignId\\}';
    expect(text).toMatch(
      new RegExp(`^\\[\\d\\d:\\d\\d:\\d\\d\\.\\d{3}\\] INFO: 401 GET ${route} [\\d.]+ ms \\{"trace_id":`, 'm'),
    );
    expect(text).toMatch(/ INFO: listening \{/);
    expect(text).not.toMatch(/^\{/m);
    expect(text).not.toContain('\u001b');
  });

  test('finishes the requests of its workers and exits 0 when the terminal closes', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-terminal-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const codeFile = path.join(folder, 'code');
    const command = `trap '' HUP; ${main}; echo $? > "${codeFile}"`;
    const { child, untilListening } = startOnTerminal(command, { WORKERS: '2' });
    const url = await untilListening(2);
    const held = deferredResponse();
    stack.upstream.respond = held;
    const pending = get(url + campaignPath, { 'x-api-key': await stack.key() });
    await until(() => stack.upstream.requests.length > 0);
    child.kill('SIGKILL');
    await until(async () => !(await isListening(url)));
    held.open();
    expect((await pending).status).toBe(200);
    expect(await until(() => readFile(codeFile, 'utf8').catch(() => ''))).toBe('0\n');
  });
});
