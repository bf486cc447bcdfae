import path from 'node:path';
import type { GatewayOptions } from '../../src/gateway.ts';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { Clock } from './clock.ts';
import { createFolder } from './folder.ts';
import { type Environment, type InProcessGateway, startGateway } from './gateway.ts';
import { get, type HttpResponse } from './http.ts';
import { makeKey } from './keys.ts';
import { longTimeouts } from './load.ts';
import { Upstream } from './upstream.ts';

/** An in-process gateway with embedded stores, a key for every campaign, and a cache clock that the test advances. */
export class EmbeddedGateway {
  readonly clock: Clock;
  readonly upstream: Upstream;
  readonly gateway: InProcessGateway;
  readonly keysFile: string;
  readonly credentials: Readonly<Record<string, string>>;

  private constructor(clock: Clock, upstream: Upstream, gateway: InProcessGateway, keysFile: string, key: string) {
    this.clock = clock;
    this.upstream = upstream;
    this.gateway = gateway;
    this.keysFile = keysFile;
    this.credentials = { 'x-api-key': key };
  }

  static async start(environment: Environment = {}, options: Partial<GatewayOptions> = {}): Promise<EmbeddedGateway> {
    const keysFile = path.join(createFolder(), 'keys.json');
    const { key, record } = makeKey({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
    await new FileKeyStore(keysFile).create(record);
    const [clock, upstream] = [new Clock(), await Upstream.start()];
    const settings = { KEYS_FILE: keysFile, CAMPAIGN_SERVICE_URL: upstream.url, ...longTimeouts, ...environment };
    const gateway = await startGateway(settings, { monotonicNow: clock.now, ...options });
    return new EmbeddedGateway(clock, upstream, gateway, keysFile, key);
  }

  /** A gateway that rejects every request as overload. */
  static startOverloaded(): Promise<EmbeddedGateway> {
    return EmbeddedGateway.start({}, { loadShedder: { tryAdmit: () => false, release() {}, start: () => () => {} } });
  }

  read(campaignId = 'cmp_1', headers: Record<string, string> = {}, method = 'GET'): Promise<HttpResponse> {
    const url = `${this.gateway.url}/v1/accounts/ag_1/campaigns/${campaignId}`;
    return get(url, { ...this.credentials, ...headers }, method);
  }

  async stop(): Promise<void> {
    await this.gateway.stop();
    this.upstream.stop();
  }
}
