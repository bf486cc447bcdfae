import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatPretty } from '../../src/telemetry/pretty-log.ts';
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

/** `script`, of util-linux, gives its command a pseudo-terminal. */
function startOnTerminal(command: string, environment: Environment) {
  return spawn('script', ['-qec', command, '/dev/null'], {
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
}

/** What a gateway writes to a terminal while it starts, answers one request and ends. */
async function onTerminal(environment: Environment): Promise<string> {
  const child = startOnTerminal(`exec ${main}`, environment);
  const ended = once(child, 'close');
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  try {
    const url = await until(() => /listening.*public=\S*?(http:\/\/127\.0\.0\.1:\d+)/.exec(text)?.[1]);
    await get(url + campaignPath);
    await until(() => / request [^\n]*\n/.test(text));
  } finally {
    child.stdin.write('\u0003'); // Ctrl-C
    await ended;
  }
  return text.replaceAll('\r\n', '\n');
}

testOnTerminal('on a terminal a line is for people: time, level, message, fields, in colours', async () => {
  const text = await onTerminal({});
  const esc = '\u001b';
  expect(text).toContain(`${esc}[32mINFO ${esc}[0m listening ${esc}[2mpid=${esc}[0m`);
  expect(text).toMatch(/^\S*\d\d:\d\d:\d\d\.\d{3}\S* \S*INFO \S* request /m);
  expect(text).not.toMatch(/^\{/m);
});

testOnTerminal('NO_COLOR is respected', async () => {
  const text = await onTerminal({ NO_COLOR: '1' });
  expect(text).not.toContain('\u001b');
  expect(text).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} INFO {2}request pid=\d+ trace_id=[0-9a-f]{32} .* status=401 .*reason=missing/m,
  );
});

testOnTerminal.each(['1', '2'])(
  'with its terminal a gateway of %s workers ends, and finishes what is under way',
  async (WORKERS) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-terminal-'));
    const codeFile = path.join(folder, 'code');
    const child = startOnTerminal(`trap '' HUP; ${main}; echo $? > "${codeFile}"`, { WORKERS });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    const listening = /listening.*public=\S*?(http:\/\/127\.0\.0\.1:\d+)/g;
    const urls = await until(() => {
      const found = [...text.matchAll(listening)];
      return found.length === Number(WORKERS) ? found : undefined;
    });
    const { promise: mayAnswer, resolve: letAnswer } = Promise.withResolvers<void>();
    const answer = respondWithJson(campaignDocument('cmp_1', 'ag_1'));
    stack.upstream.respond = async (request, response) => {
      await mayAnswer;
      answer(request, response);
    };
    const key = await stack.key();
    const answered = get(urls[0]?.[1] + campaignPath, { 'x-api-key': key });
    await until(() => stack.upstream.requests.length > 0);
    child.kill('SIGKILL');
    const refuses = () =>
      fetch(`${urls[0]?.[1]}/`).then(
        () => false,
        () => true,
      );
    await until(refuses);
    letAnswer();
    expect((await answered).status).toBe(200);
    expect(await until(() => readFile(codeFile, 'utf8').catch(() => ''))).toBe('0\n');
    stack.upstream.requests.length = 0;
    await rm(folder, { recursive: true });
  },
);

test('nothing in a line can command the terminal, and each is one line', () => {
  const commands = ['\u001b]0;title\u0007', '\u009b31m', 'two\nlines', '\u202eright to left', '\u007f'];
  const logged = { time: '2026-01-01T00:00:00.000Z', level: 'warn', msg: commands.join(' '), cause: commands };
  const line = formatPretty(JSON.stringify(logged), false);
  expect(line).toMatch(/^00:00:00\.000 WARN {2}\P{C}+\n$/u);
  expect(line).toContain('\\u001b]0;title');
});
