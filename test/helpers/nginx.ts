import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { createFolder } from './folder.ts';
import { freePort } from './redis.ts';
import { startServerProgram } from './server-program.ts';

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

export type Nginx = Awaited<ReturnType<typeof startNginx>>;

/** Starts nginx with the files of config/nginx on a free port, without a gateway. */
export async function startNginx() {
  const host = `127.0.0.1:${await freePort()}`;
  const url = `http://${host}`;
  const folder = createFolder();
  // The layout of /etc/nginx.
  for (const name of ['conf.d', 'campaign-gateway']) await mkdir(path.join(folder, name));
  const site = await readConfig('campaign-gateway.conf');
  const testSite = site.replace('listen 80;', `listen ${host};`);
  if (testSite === site) throw new Error('campaign-gateway.conf has no "listen 80;"');
  await writeFile(path.join(folder, 'conf.d/campaign-gateway.conf'), testSite);
  await writeFile(path.join(folder, 'nginx.conf'), mainConfig);
  await writeGateways(folder, []);
  const command = ['nginx', '-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'] as const;
  const stop = await startServerProgram([...command, '-g', 'daemon off;'], { url, status: 503 });
  return {
    url,
    /** Replaces the gateways. Requests in flight end on the previous ones. Idle connections of clients are closed. */
    use: async (gateways: readonly string[]) => {
      await writeGateways(folder, gateways);
      const [program, ...args] = command;
      await promisify(execFile)(program, [...args, '-s', 'reload']);
    },
    stop,
  };
}

/** Writes one server line per gateway, with the parameters of config/nginx/gateways.conf. */
async function writeGateways(folder: string, gateways: readonly string[]): Promise<void> {
  const [, parameters = ''] = /^server \S+ (.+);$/m.exec(await readConfig('gateways.conf')) ?? [];
  const lines = gateways.map((url) => `server ${new URL(url).host} ${parameters};\n`);
  const noServer = 'server 127.0.0.1:1 down;\n'; // nginx does not start with an empty list.
  await writeFile(path.join(folder, 'campaign-gateway/gateways.conf'), lines.join('') || noServer);
}
