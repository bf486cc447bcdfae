import { spawn, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createFolder } from '../helpers/folder.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { isListening } from '../helpers/workers.ts';

const main = `"${process.execPath}" "${path.resolve(import.meta.dirname, '../../src/main.ts')}"`;
const isUtilLinux = spawnSync('script', ['--version']).stdout?.includes('util-linux') ?? false;

test.skipIf(!isUtilLinux)(
  'a gateway on a terminal writes readable lines; when the terminal closes, its workers finish their requests and it exits 0',
  async () => {
    const stack = await Stack.start();
    onTestFinished(() => stack.stop());
    const codeFile = path.join(createFolder(), 'code');
    // `script`, of util-linux, runs its command on a pseudo-terminal.
    const command = ['-qec', `trap '' HUP; ${main}; echo $? > "${codeFile}"`, '/dev/null'];
    const settings = { WORKERS: '2', HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', ...stack.environment };
    const env = { PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', NO_COLOR: '1', ...settings };
    const child = spawn('script', command, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });

    const listening = /listening.*"public":"(http:\/\/127\.0\.0\.1:\d+)"/g;
    const [, url = ''] = await until(() => [...output.matchAll(listening)][1]); // Both workers.
    await get(url + campaignPath);
    await until(() => /401 GET [^\n]*\n/.test(output));
    const route = '/v1/accounts/\\{accountGroupId\\}/campaigns/\\{campaignId\\}';
    const requestLine = `^\\[\\d\\d:\\d\\d:\\d\\d\\.\\d{3}\\] INFO: 401 GET ${route} [\\d.]+ ms \\{"trace_id":`;
    expect(output).toMatch(new RegExp(requestLine, 'm'));
    expect(output).not.toMatch(/^\{/m);
    expect(output).not.toContain('\u001b');

    const held = deferredResponse();
    stack.upstream.respond = held;
    const pending = get(url + campaignPath, { 'x-api-key': await stack.key() });
    await until(() => stack.upstream.requests.length > 0);
    child.kill('SIGKILL');
    await until(async () => !(await isListening(url)));
    held.open();
    expect((await pending).status).toBe(200);
    expect(await until(() => readFile(codeFile, 'utf8').catch(() => ''))).toBe('0\n');
  },
);
