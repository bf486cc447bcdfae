import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './redis.ts';
import { ServerProgram } from './server-program.ts';

const readConfig = (name: string) => readFile(path.resolve(import.meta.dirname, '../../config/nginx', name), 'utf8');

/** Replaces Debian's nginx.conf around the tested site. */
const mainConfig = `
user ${userInfo().username};
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {}
http {
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
  access_log off;
  include conf.d/*.conf;
}
`;

/** nginx with the files of config/nginx on a free port. The gateways behind it can be replaced. */
export class Nginx {
  readonly url: string;
  readonly #folder: string;
  #server: ServerProgram | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Starts nginx without a gateway. */
  static async start(): Promise<Nginx> {
    const nginx = new Nginx(await mkdtemp(path.join(tmpdir(), 'gateway-test-nginx-')), await freePort());
    await nginx.#layOut();
    const ready = { url: nginx.url, status: 503 };
    nginx.#server = await ServerProgram.start([...nginx.#command, '-g', 'daemon off;'], ready);
    return nginx;
  }

  /** Replaces the gateways. Requests in flight end on the previous ones. Idle connections of clients are closed. */
  async use(gateways: readonly string[]): Promise<void> {
    await this.#writeGateways(gateways);
    const [program = '', ...args] = this.#command;
    await promisify(execFile)(program, [...args, '-s', 'reload']);
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #command(): string[] {
    return ['nginx', '-p', this.#folder, '-c', path.join(this.#folder, 'nginx.conf'), '-e', 'stderr'];
  }

  /** Writes the configuration folder in the layout of /etc/nginx. */
  async #layOut(): Promise<void> {
    for (const folder of ['conf.d', 'campaign-gateway']) await mkdir(path.join(this.#folder, folder));
    const site = await readConfig('campaign-gateway.conf');
    const testSite = site.replace('listen 80;', `listen ${new URL(this.url).host};`);
    if (testSite === site) throw new Error('campaign-gateway.conf has no "listen 80;"');
    await writeFile(path.join(this.#folder, 'conf.d/campaign-gateway.conf'), testSite);
    await writeFile(path.join(this.#folder, 'nginx.conf'), mainConfig);
    await this.#writeGateways([]);
  }

  /** Writes one server line per gateway, with the parameters of config/nginx/gateways.conf. */
  async #writeGateways(gateways: readonly string[]): Promise<void> {
    const [, parameters = ''] = /^server \S+ (.+);$/m.exec(await readConfig('gateways.conf')) ?? [];
    const lines = gateways.map((url) => `server ${new URL(url).host} ${parameters};\n`);
    const noServer = 'server 127.0.0.1:1 down;\n'; // nginx does not start with an empty list.
    await writeFile(path.join(this.#folder, 'campaign-gateway/gateways.conf'), lines.join('') || noServer);
  }
}
