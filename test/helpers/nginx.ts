import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { root } from './dockerfile.ts';
import { Processes, type RunningProcess } from './processes.ts';
import { freePort } from './redis.ts';
import { until } from './wait.ts';

const configFolder = path.join(root, 'config/nginx');

/** Around the site that is tried: what a Debian package would bring, as far as it is needed. */
const mainConfig = `
user ${userInfo().username};
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {}
http {
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
  log_format asked '$upstream_addr';
  access_log asked.log asked;
  include conf.d/*.conf;
}
`;

/** nginx with the files of config/nginx, on a free port, before gateways that may be others at any time. */
export class Nginx {
  readonly url: string;
  /** When what it sends to was changed. */
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
      master.mustLive();
      return nginx.#workers.length > 0;
    });
    return nginx;
  }

  /** Sends to these from now on. Resolves when nothing is served by what was in force before. */
  async use(gateways: readonly string[]): Promise<void> {
    const [from, before] = [Date.now(), this.#workers];
    await this.#writeGateways(gateways);
    const reload = this.#processes.start([...this.#command, '-s', 'reload']);
    if ((await reload.exited()) !== 0) throw new Error(`nginx does not take its configuration: ${reload.said}`);
    await until(() => this.#workers.length > 0 && !this.#workers.some((worker) => before.includes(worker)));
    this.reloads.push({ from, to: Date.now() });
  }

  /** How many requests it has sent to more than one gateway. */
  async passedOn(): Promise<number> {
    const log = await readFile(path.join(this.#folder, 'asked.log'), 'utf8');
    return log.split('\n').filter((line) => line.includes(', ')).length;
  }

  async stop(): Promise<void> {
    await this.#processes.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #command(): string[] {
    return ['nginx', '-p', this.#folder, '-c', path.join(this.#folder, 'nginx.conf'), '-e', 'stderr'];
  }

  /** The worker processes, those included that still end what they have begun. */
  get #workers(): string[] {
    const said = this.#master?.said ?? '';
    const named = (words: RegExp) => [...said.matchAll(words)].map(([, pid = '']) => pid);
    const exited = new Set(named(/worker process (\d+) exited/g));
    return named(/start worker process (\d+)/g).filter((pid) => !exited.has(pid));
  }

  /** As under /etc/nginx. */
  async #layOut(gateways: readonly string[]): Promise<void> {
    for (const folder of ['conf.d', 'campaign-gateway']) await mkdir(path.join(this.#folder, folder));
    const site = await readFile(path.join(configFolder, 'campaign-gateway.conf'), 'utf8');
    const here = site.replace('listen 80;', `listen ${new URL(this.url).host};`);
    if (here === site) throw new Error('the site listens elsewhere');
    await writeFile(path.join(this.#folder, 'conf.d/campaign-gateway.conf'), here);
    await writeFile(path.join(this.#folder, 'nginx.conf'), mainConfig);
    await this.#writeGateways(gateways);
  }

  /** Each on a line like those in config/nginx. */
  async #writeGateways(gateways: readonly string[]): Promise<void> {
    const example = await readFile(path.join(configFolder, 'gateways.conf'), 'utf8');
    const [, parameters = ''] = /^server \S+ (.+);$/m.exec(example) ?? [];
    const lines = gateways.map((url) => `server ${new URL(url).host} ${parameters};\n`);
    await writeFile(path.join(this.#folder, 'campaign-gateway/gateways.conf'), lines.join(''));
  }
}
