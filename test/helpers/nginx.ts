import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';

import { Processes, type RunningProcess } from './processes.ts';
import { freePort } from './redis.ts';
import { until } from './wait.ts';

const configFolder = path.resolve(import.meta.dirname, '../../config/nginx');

/** Replaces Debian's nginx.conf around the tested site. The access log records the gateways that each request was sent to. */
const mainConfig = `
user ${userInfo().username};
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {}
http {
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
  log_format upstreams '$upstream_addr';
  access_log upstreams.log upstreams;
  include conf.d/*.conf;
}
`;

/** nginx with the files of config/nginx on a free port. The gateways behind it can be replaced. */
export class Nginx {
  readonly url: string;
  /** When the list of gateways changed. */
  readonly reloads: { readonly from: number; readonly to: number }[] = [];
  readonly #folder: string;
  readonly #processes = new Processes();
  #master: RunningProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(gateways: readonly string[]): Promise<Nginx> {
    const nginx = new Nginx(await mkdtemp(path.join(tmpdir(), 'gateway-test-nginx-')), await freePort());
    await nginx.#layOut(gateways);
    const master = nginx.#processes.start([...nginx.#command, '-g', 'daemon off;']);
    nginx.#master = master;
    await until(() => {
      master.throwIfExited();
      return nginx.#liveWorkers.length > 0;
    });
    return nginx;
  }

  /** Replaces the gateways. Resolves when no worker with the previous list is left. */
  async use(gateways: readonly string[]): Promise<void> {
    const [from, previous] = [Date.now(), this.#liveWorkers];
    await this.#writeGateways(gateways);
    const reload = this.#processes.start([...this.#command, '-s', 'reload']);
    if ((await reload.exited()) !== 0) throw new Error(`nginx rejected its configuration: ${reload.output}`);
    await until(() => this.#liveWorkers.length > 0 && !this.#liveWorkers.some((worker) => previous.includes(worker)));
    this.reloads.push({ from, to: Date.now() });
  }

  /** Counts requests that were sent to more than one gateway. */
  async countRetried(): Promise<number> {
    const log = await readFile(path.join(this.#folder, 'upstreams.log'), 'utf8');
    return log.split('\n').filter((line) => line.includes(', ')).length;
  }

  async stop(): Promise<void> {
    await this.#processes.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #command(): string[] {
    return ['nginx', '-p', this.#folder, '-c', path.join(this.#folder, 'nginx.conf'), '-e', 'stderr'];
  }

  /** Worker process ids, including workers that are shutting down gracefully. */
  get #liveWorkers(): string[] {
    const output = this.#master?.output ?? '';
    const findPids = (pattern: RegExp) => [...output.matchAll(pattern)].map(([, pid = '']) => pid);
    const exited = new Set(findPids(/worker process (\d+) exited/g));
    return findPids(/start worker process (\d+)/g).filter((pid) => !exited.has(pid));
  }

  /** Writes the configuration folder in the layout of /etc/nginx. */
  async #layOut(gateways: readonly string[]): Promise<void> {
    for (const folder of ['conf.d', 'campaign-gateway']) await mkdir(path.join(this.#folder, folder));
    const site = await readFile(path.join(configFolder, 'campaign-gateway.conf'), 'utf8');
    const testSite = site.replace('listen 80;', `listen ${new URL(this.url).host};`);
    if (testSite === site) throw new Error('campaign-gateway.conf has no "listen 80;"');
    await writeFile(path.join(this.#folder, 'conf.d/campaign-gateway.conf'), testSite);
    await writeFile(path.join(this.#folder, 'nginx.conf'), mainConfig);
    await this.#writeGateways(gateways);
  }

  /** Writes one server line per gateway, with the parameters of config/nginx/gateways.conf. */
  async #writeGateways(gateways: readonly string[]): Promise<void> {
    const example = await readFile(path.join(configFolder, 'gateways.conf'), 'utf8');
    const [, parameters = ''] = /^server \S+ (.+);$/m.exec(example) ?? [];
    const lines = gateways.map((url) => `server ${new URL(url).host} ${parameters};\n`);
    await writeFile(path.join(this.#folder, 'campaign-gateway/gateways.conf'), lines.join(''));
  }
}
