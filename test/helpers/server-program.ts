import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from './wait.ts';

/** Starts a server of another project, such as nginx, until it responds at this URL. Returns what stops it. */
export async function startServerProgram(
  [program = '', ...args]: readonly string[],
  { url, status = 200, env = {} }: { url: string; status?: number; env?: Record<string, string> },
): Promise<() => Promise<void>> {
  // A separate process group, so that killing it also ends the children of the program.
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, detached: true, stdio: 'pipe' } as const;
  const child = spawn(program, args, options);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const exited = once(child, 'close');
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  await until(async () => {
    if (!isRunning()) throw new Error(`${program} exited: ${output}`);
    return (await fetch(url).catch(() => undefined))?.status === status;
  });
  return async () => {
    if (child.pid !== undefined && isRunning()) process.kill(-child.pid, 'SIGKILL');
    await exited;
  };
}
