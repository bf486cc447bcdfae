import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { WriteStream } from 'node:tty';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { terminalDestination } from '../../src/telemetry/terminal-log.ts';
import type { Environment } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const root = path.resolve(import.meta.dirname, '../..');

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());

const isUtilLinux = spawnSync('script', ['--version']).stdout?.includes('util-linux') ?? false;
const testOnTerminal = test.skipIf(!isUtilLinux);

const main = `"${process.execPath}" "${path.join(root, 'src/main.ts')}"`;
const LISTENING = /listening.*"public":"(http:\/\/127\.0\.0\.1:\d+)"/g;

/** `script`, of util-linux, runs its command on a pseudo-terminal. */
function startOnTerminal(command: string, environment: Environment) {
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: {
      PATH: process.env['PATH'] ?? '',
      TERM: 'xterm-256color',
      HOST: '127.0.0.1',
      PORT: '0',
      OPS_PORT: '0',
      ...stack.environment,
      ...environment,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    output += chunk;
  });
  return { child, output: () => output };
}

/** The terminal output of a gateway that serves one request and is stopped with Ctrl-C. */
async function serveOnTerminal(environment: Environment): Promise<string> {
  const { child, output } = startOnTerminal(`exec ${main}`, environment);
  const closed = once(child, 'close');
  try {
    const url = await until(() => output().matchAll(LISTENING).next().value?.[1]);
    await get(url + campaignPath);
    await until(() => /401 GET [^\n]*\n/.test(output()));
  } finally {
    child.stdin.write('\u0003'); // Ctrl-C
    await closed;
  }
  return output().replaceAll('\r\n', '\n');
}

testOnTerminal('on a terminal the log is readable, and a request line begins with status, method, route', async () => {
  const text = await serveOnTerminal({ NO_COLOR: '1' });
  const route = '/v1/accounts/\\{accountGroupId\\}/campaigns/\\{campaignId\\}';
  expect(text).toMatch(
    new RegExp(`^\\[\\d\\d:\\d\\d:\\d\\d\\.\\d{3}\\] INFO: 401 GET ${route} [\\d.]+ ms \\{"trace_id":`, 'm'),
  );
  expect(text).toMatch(/ INFO: listening \{/);
  expect(text).not.toMatch(/^\{/m);
  expect(text).not.toContain('\u001b');
});

testOnTerminal.each(['1', '2'])(
  'a gateway of %s workers finishes its requests and exits 0 when its terminal closes',
  async (WORKERS) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-terminal-'));
    const codeFile = path.join(folder, 'code');
    const { child, output } = startOnTerminal(`trap '' HUP; ${main}; echo $? > "${codeFile}"`, { WORKERS });
    const urls = await until(() => {
      const found = [...output().matchAll(LISTENING)].map(([, url = '']) => url);
      return found.length === Number(WORKERS) ? found : undefined;
    });
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const respond = respondWithJson(campaignDocument('cmp_1', 'ag_1'));
    stack.upstream.respond = async (request, response) => {
      await released;
      respond(request, response);
    };
    const key = await stack.key();
    const pending = get(urls[0] + campaignPath, { 'x-api-key': key });
    await until(() => stack.upstream.requests.length > 0);
    child.kill('SIGKILL');
    const isClosed = () =>
      fetch(`${urls[0]}/`).then(
        () => false,
        () => true,
      );
    await until(isClosed);
    release();
    expect((await pending).status).toBe(200);
    expect(await until(() => readFile(codeFile, 'utf8').catch(() => ''))).toBe('0\n');
    stack.upstream.requests.length = 0;
    await rm(folder, { recursive: true });
  },
);

test('no value in a line can control the terminal', () => {
  const written: string[] = [];
  const terminal = Object.assign(Object.create(WriteStream.prototype), {
    write: (text: string) => written.push(text) > 0,
    hasColors: () => false,
  });
  const attacks = ['\u001b]0;title\u0007', '\u009b31m', 'two\nlines', '\u202eright to left', '\u007f'];
  const line = { time: '2026-01-01T00:00:00.000Z', level: 'warn', msg: 'failed', cause: attacks };
  terminalDestination(terminal).write(`${JSON.stringify(line)}\n`);
  const [text = ''] = written;
  expect(text).toMatch(/^\P{C}+\n$/u);
  expect(text).toContain('\\u001b]0;title');
});
