import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from './wait.ts';

/** A server of another project that a test runs, such as nginx. */
export class ServerProgram {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #output = '';

  private constructor([program = '', ...args]: readonly string[], environment: Record<string, string>) {
    const env = { PATH: process.env['PATH'] ?? '', ...environment };
    // A separate process group, so that killing it also ends the children of the program.
    this.#child = spawn(program, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        this.#output += text;
      });
    }
    this.#exit = once(this.#child, 'close');
  }

  /** Resolves when the program responds at this URL with an expected status. */
  static async start(
    command: readonly string[],
    { url, status = 200, env = {} }: { url: string; status?: number; env?: Record<string, string> },
  ): Promise<ServerProgram> {
    const server = new ServerProgram(command, env);
    await until(async () => {
      const { exitCode, signalCode } = server.#child;
      if (exitCode !== null || signalCode !== null) throw new Error(`${command[0]} exited: ${server.#output}`);
      return (await fetch(url).catch(() => undefined))?.status === status;
    });
    return server;
  }

  async stop(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGKILL');
    await this.#exit;
  }
}
