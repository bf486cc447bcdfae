import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse, stringify } from 'yaml';
import { type ComposeService, parseMounts, readCompose } from './compose.ts';
import { root } from './dockerfile.ts';
import { haproxyDefaults } from './haproxy.ts';
import { ImageFolder } from './image-folder.ts';
import { startNameServer } from './name-server.ts';
import { Processes, type RunningProcess } from './processes.ts';
import { freePort } from './redis.ts';
import { until } from './wait.ts';

/** The addresses of the two gateway containers, which use the same ports. */
export const gatewayAddresses = ['127.0.0.2', '127.0.0.3'];

/**
 * Runs the services of docker-compose.yml as plain processes, with their commands, variables and mounted files. Hosts, ports
 * and paths differ because all of them share this machine.
 */
export class ComposeProcesses {
  readonly #services: Record<string, ComposeService>;
  readonly #folder: string;
  readonly #image: ImageFolder;
  readonly #processes = new Processes();
  readonly #closers: (() => void)[] = [];
  readonly #ports = new Map<string, Promise<number>>();

  private constructor(services: Record<string, ComposeService>, folder: string, image: ImageFolder) {
    this.#services = services;
    this.#folder = folder;
    this.#image = image;
  }

  static async make(): Promise<ComposeProcesses> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-compose-'));
    return new ComposeProcesses(await readCompose(), folder, await ImageFolder.make());
  }

  async startRedis(): Promise<RunningProcess> {
    const port = String(await this.#port('redis'));
    const { command, healthcheck } = this.#service('redis');
    const location = ['--dir', this.#folder, '--bind', '127.0.0.1', '--port', port];
    const redis = this.#processes.start([...command, ...location]);
    const [, client = '', ...args] = healthcheck?.test ?? [];
    await until(async () => {
      redis.throwIfExited();
      return (await this.#processes.start([client, '-p', port, ...args]).exited()) === 0;
    });
    return redis;
  }

  async startCampaignService(): Promise<void> {
    const port = String(await this.#port('campaign-service'));
    const { command, environment, healthcheck } = this.#service('campaign-service');
    const service = this.#image.start(command, { ...environment, SAMPLE_HOST: '127.0.0.1', SAMPLE_PORT: port });
    const [, ...words] = healthcheck?.test ?? [];
    const probe = words.map((word) => word.replace(`:${environment['SAMPLE_PORT']}/`, `:${port}/`));
    await until(async () => {
      service.throwIfExited();
      return (await this.#image.start(probe).exited()) === 0;
    });
  }

  /** Runs a command as `docker compose exec gateway` does. Returns its output. */
  async exec(words: readonly string[]): Promise<string> {
    const running = this.#image.start(words, await this.#gatewayEnvironment());
    const code = await running.exited();
    if (code !== 0) throw new Error(`${words.join(' ')} exited with ${code}: ${running.output}`);
    return running.output;
  }

  /** Starts the gateway with this address. */
  async startGateway(address: string): Promise<RunningProcess> {
    const environment = { ...(await this.#gatewayEnvironment()), HOST: address, OPS_HOST: address };
    const gateway = this.#image.start(this.#image.image.words('CMD'), environment);
    await until(async () => {
      gateway.throwIfExited();
      return (await fetch(`http://${address}:${environment.OPS_PORT}/readyz`).catch(() => undefined))?.ok;
    });
    return gateway;
  }

  /** Returns the URL of the load balancer. */
  async startLoadBalancer(): Promise<string> {
    const names = await startNameServer('gateway', gatewayAddresses);
    this.#closers.push(names.stop);
    const { PORT, OPS_PORT } = await this.#gatewayEnvironment();
    const listen = `127.0.0.1:${await this.#port('load-balancer')}`;
    const environment: Record<string, string> = {
      RESOLVER: names.address,
      LISTEN: listen,
      GATEWAY_PORT: PORT,
      GATEWAY_OPS_PORT: OPS_PORT,
    };
    const { command, healthcheck } = this.#service('load-balancer');
    const unknown = Object.keys(await haproxyDefaults()).filter((name) => !(name in environment));
    if (unknown.length > 0) throw new Error(`not set: ${unknown}`);
    const files = await this.#mount('load-balancer');
    const balancer = this.#processes.start(command.map(files), {
      env: { ...environment, PATH: process.env['PATH'] ?? '' },
    });
    const health = new URL(healthcheck?.test.at(-1) ?? '');
    await until(async () => {
      balancer.throwIfExited();
      return (await fetch(`http://${listen}${health.pathname}`).catch(() => undefined))?.ok;
    });
    return `http://${listen}`;
  }

  /** Returns the URL of Prometheus. It gets the addresses that DNS would return, and scrapes once a second. */
  async startPrometheus(): Promise<string> {
    const files = await this.#mount('prometheus');
    const { command, healthcheck } = this.#service('prometheus');
    const words = command.map(files);
    const [configFile = ''] = words.flatMap((word) => word.split('--config.file=').slice(1));
    const config = parse(await readFile(configFile, 'utf8'));
    const { OPS_PORT } = await this.#gatewayEnvironment();
    const [{ dns_sd_configs: _, ...job }] = config.scrape_configs;
    const targets = gatewayAddresses.map((address) => `${address}:${OPS_PORT}`);
    config.scrape_configs = [{ ...job, scrape_interval: '1s', scrape_timeout: '1s', static_configs: [{ targets }] }];
    await writeFile(configFile, stringify(config));
    const listen = `127.0.0.1:${await this.#port('prometheus')}`;
    const prometheus = this.#processes.start(['prometheus', ...words, `--web.listen-address=${listen}`]);
    const health = new URL(healthcheck?.test.at(-1) ?? '');
    await until(async () => {
      prometheus.throwIfExited();
      return (await fetch(`http://${listen}${health.pathname}`).catch(() => undefined))?.ok;
    });
    return `http://${listen}`;
  }

  async stop(): Promise<void> {
    await this.#processes.stop();
    await this.#image.remove();
    for (const close of this.#closers) close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #service(name: string): ComposeService {
    const service = this.#services[name];
    if (!service) throw new Error(`no service ${name}`);
    return service;
  }

  #port(service: string): Promise<number> {
    const port = this.#ports.get(service) ?? freePort();
    this.#ports.set(service, port);
    return port;
  }

  async #gatewayEnvironment() {
    const [redis, campaignService] = [await this.#port('redis'), await this.#port('campaign-service')];
    return {
      ...this.#service('gateway').environment,
      REDIS_URL: `redis://127.0.0.1:${redis}`,
      CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${campaignService}`,
      OTEL_EXPORTER_OTLP_ENDPOINT: '', // No collector runs.
      PORT: String(await this.#port('gateway')),
      OPS_PORT: String(await this.#port('operations')),
    };
  }

  /** Copies the mounted files of a service. Returns a function that maps container paths in arguments to local paths. */
  async #mount(name: string): Promise<(word: string) => string> {
    const folder = path.join(this.#folder, name);
    await mkdir(folder, { recursive: true });
    const mounts = parseMounts(this.#service(name));
    for (const { source, target } of mounts) {
      const localPath = path.join(folder, target);
      if (source.startsWith('.')) await cp(path.join(root, source), localPath, { recursive: true });
      else await mkdir(localPath, { recursive: true });
    }
    return (word) => {
      const mount = mounts.find(({ target }) => word === target || word.endsWith(`=${target}`));
      return mount ? word.replace(mount.target, path.join(folder, mount.target)) : word;
    };
  }
}
