import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { freePort } from './redis.ts';
import { until } from './wait.ts';

/** Runs promtool to completion. */
export function promtool(args: readonly string[], input = ''): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = execFile('promtool', args, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), output: stdout + stderr });
    });
    child.stdin?.end(input);
  });
}

const responseSchema = z.object({
  status: z.string(),
  error: z.string().optional(),
  data: z.unknown().optional(),
});

/** A Prometheus for one test, on a free port, with a temporary data directory. */
export class PrometheusServer {
  readonly url: string;
  readonly #folder: string;
  readonly #process: ChildProcess;

  private constructor(port: number, folder: string, child: ChildProcess) {
    this.url = `http://127.0.0.1:${port}`;
    this.#folder = folder;
    this.#process = child;
  }

  static async start(config: unknown): Promise<PrometheusServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-prometheus-'));
    const port = await freePort();
    await writeFile(path.join(folder, 'prometheus.yml'), stringify(config));
    const args = [
      `--config.file=${path.join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ];
    const child = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const server = new PrometheusServer(port, folder, child);
    try {
      await until(async () => {
        if (child.exitCode !== null) throw new Error(`prometheus exited with ${child.exitCode}`);
        return (await fetch(`${server.url}/-/ready`).catch(() => undefined))?.ok;
      });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Calls its HTTP API. Throws if the response is an error. */
  async call(name: string, parameters: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const response = await fetch(`${this.url}/api/v1/${name}?${new URLSearchParams(parameters)}`);
    const { status, error, data } = responseSchema.parse(await response.json());
    if (status !== 'success') throw new Error(`${error} in ${JSON.stringify(parameters)}`);
    return data;
  }

  /** The number of series that an expression returns now. */
  async count(query: string): Promise<number> {
    const data = await this.call('query', { query });
    return z.object({ result: z.array(z.unknown()) }).parse(data).result.length;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGKILL');
      await once(this.#process, 'exit');
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}
