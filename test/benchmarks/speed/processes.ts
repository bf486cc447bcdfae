import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { LoadPlan, Measurement } from './client.ts';

/** The measured process runs on the first core, all others on the rest. Needs two cores and `taskset` of Linux. */
export type Core = 'measured' | 'others';

const cores = availableParallelism();
const isPinned = cores > 1 && pinThisProcess();

/** Child processes inherit the pinning. */
function pinThisProcess(): boolean {
  try {
    execFileSync('taskset', ['-a', '-p', '-c', `1-${cores - 1}`, String(process.pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export function start(
  core: Core,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const [program = '', ...args] = isPinned && core === 'measured' ? ['taskset', '-c', '0', ...command] : command;
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Starts a program of this folder that prints the port on which it listens. */
export async function startServer(core: Core, file: string, env: Readonly<Record<string, string>> = {}) {
  const child = start(core, [process.execPath, path.join(import.meta.dirname, file)], env);
  const [line] = await once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line');
  return { child, port: Number(line) };
}

export async function load(plan: LoadPlan): Promise<Measurement> {
  const client = path.join(import.meta.dirname, 'client.ts');
  const child = start('others', [process.execPath, client, JSON.stringify(plan)]);
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  await once(child, 'close');
  return JSON.parse(output);
}

/** Seconds of CPU time of a process and its descendants. NaN without /proc. */
export function cpuSeconds(pid: number): number {
  try {
    const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const stats = new Map(all.map((name) => [Number(name), readStat(name)]));
    const withChildren = (id: number): number =>
      [...stats].reduce(
        (sum, [child, stat]) => sum + (stat?.parent === id ? withChildren(child) : 0),
        stats.get(id)?.ticks ?? 0,
      );
    return withChildren(pid) / 100; // USER_HZ
  } catch {
    return Number.NaN;
  }
}

function readStat(pid: string): { parent: number; ticks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return undefined; // The process has just exited.
  }
}
