import path from 'node:path';
import type { GatewayOptions } from '../../src/gateway.ts';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { Clock } from './clock.ts';
import { createFolder } from './folder.ts';
import { type Environment, startGateway } from './gateway.ts';
import { get } from './http.ts';
import { makeKey } from './keys.ts';
import { longTimeouts } from './load.ts';
import { Upstream } from './upstream.ts';

export type EmbeddedGateway = Awaited<ReturnType<typeof startEmbeddedGateway>>;

/** An in-process gateway with embedded stores, a key for every campaign, and a cache clock that the test advances. */
export async function startEmbeddedGateway(environment: Environment = {}, options: Partial<GatewayOptions> = {}) {
  const keysFile = path.join(createFolder(), 'keys.json');
  const { key, record } = makeKey({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  await new FileKeyStore(keysFile).create(record);
  const [clock, upstream] = [new Clock(), await Upstream.start()];
  const settings = { KEYS_FILE: keysFile, CAMPAIGN_SERVICE_URL: upstream.url, ...longTimeouts, ...environment };
  const gateway = await startGateway(settings, { monotonicNow: clock.now, ...options });
  const credentials: Readonly<Record<string, string>> = { 'x-api-key': key };
  return {
    clock,
    upstream,
    gateway,
    keysFile,
    credentials,
    read: (campaignId = 'cmp_1', headers: Record<string, string> = {}, method = 'GET') =>
      get(`${gateway.url}/v1/accounts/ag_1/campaigns/${campaignId}`, { ...credentials, ...headers }, method),
    stop: async () => {
      await gateway.stop();
      upstream.stop();
    },
  };
}

/** A gateway that rejects every request as overload. */
export const startOverloadedGateway = () =>
  startEmbeddedGateway({}, { loadShedder: { tryAdmit: () => false, release() {}, start: () => () => {} } });
