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
  #said = '';

  constructor([program = '', ...args]: readonly string[], { cwd, env, uid, gid }: Options) {
    this.#name = program;
    // A group of its own, which dies as a whole: an init in front must not leave what it started behind.
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
        this.#said += text;
      });
    }
    this.#exit = once(this.#child, 'close').then(([code]) => code);
    this.#exit.catch(() => {}); // Of who waits for it.
  }

  /** All that it has written. */
  get said(): string {
    return this.#said;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its exit code. */
  exited(): Promise<number | null> {
    return this.#exit;
  }

  /** To be asked while something is waited for that only a living process can bring about. */
  mustLive(): void {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`${this.#name} ended with ${exitCode ?? signalCode}: ${this.#said}`);
    }
  }

  async kill(): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Nobody is left in the group.
    }
    await this.#exit;
  }
}

/** The processes of a test, which end with it. */
export class Processes {
  readonly #all: RunningProcess[] = [];

  start(words: readonly string[], options: Options = {}): RunningProcess {
    const started = new RunningProcess(words, options);
    this.#all.push(started);
    return started;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((one) => one.kill()));
  }
}
