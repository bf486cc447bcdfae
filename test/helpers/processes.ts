import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

interface Options {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export class RunningProcess {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;
  #output = '';

  constructor([program = '', ...args]: readonly string[], { cwd, env, uid, gid }: Options) {
    this.#name = program;
    // A separate process group, so that killing it also ends the children of an init process.
    this.#child = spawn(program, args, {
      ...(cwd !== undefined && { cwd }),
      ...(env && { env }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        this.#output += text;
      });
    }
    this.#exit = once(this.#child, 'close').then(([code]) => code);
    this.#exit.catch(() => {}); // Callers of `exited` receive the rejection.
  }

  /** Everything written to stdout and stderr. */
  get output(): string {
    return this.#output;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code. */
  exited(): Promise<number | null> {
    return this.#exit;
  }

  /** Call it while polling for something that only a running process can do. */
  throwIfExited(): void {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`${this.#name} exited with ${exitCode ?? signalCode}: ${this.#output}`);
    }
  }

  async kill(): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // The group has no processes left.
    }
    await this.#exit;
  }
}

/** The processes of a test. `stop` kills them all. */
export class Processes {
  readonly #all: RunningProcess[] = [];

  start(command: readonly string[], options: Options = {}): RunningProcess {
    const started = new RunningProcess(command, options);
    this.#all.push(started);
    return started;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((one) => one.kill()));
  }
}
