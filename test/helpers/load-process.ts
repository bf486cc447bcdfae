import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';

export interface LoadPlan {
  readonly url: string;
  readonly path: string;
  readonly key: string;
  readonly seconds: number;
  /** Requests a second, each sent when its time has come, whatever has become of others. 0: each client asks again at once. */
  readonly rate: number;
  /** To begin with. */
  readonly connections: number;
  /** As many as there may be where all are waiting for an answer; what is due beyond them is not sent. */
  readonly maxConnections: number;
  /** A client that has waited so long goes away. */
  readonly patienceMs: number;
  /** The process whose CPU time is measured, if any. */
  readonly pid?: number | undefined;
}

export interface LoadResult {
  /** What the process had of its core, while requests were sent: on a machine that others use too it is not all. */
  cpuSeconds: number;
  sent: number;
  unsent: number;
  /** Clients that went away. */
  late: number;
  /** Whole 503s, with all that belongs to them. */
  refused: number;
  /** How long each whole 200 took. */
  readonly goodMs: number[];
  /** Some of what was answered else. */
  readonly strange: string[];
}

/** Loads a gateway from a process of its own, started by `prefix` (`taskset -c 1`). */
export async function load(plan: LoadPlan, prefix: readonly string[] = []): Promise<LoadResult> {
  const program = path.join(import.meta.dirname, 'load-program.ts');
  const [command = '', ...words] = [...prefix, process.execPath, program, JSON.stringify(plan)];
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [output] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  return JSON.parse(output) as LoadResult;
}
