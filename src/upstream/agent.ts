import { readFileSync } from 'node:fs';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { UpstreamSettings } from './settings.ts';

/** The connection pool to the campaign service. */
export function createAgent(settings: UpstreamSettings): HttpAgent {
  const options = {
    keepAlive: true,
    maxSockets: settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY,
    scheduling: 'lifo',
  } as const;
  if (settings.CAMPAIGN_SERVICE_URL.protocol === 'http:') return new HttpAgent(options);
  const pem = (file: string | undefined) => (file === undefined ? undefined : readFileSync(file));
  return new HttpsAgent({
    ...options,
    ca: pem(settings.CAMPAIGN_SERVICE_CA_FILE),
    cert: pem(settings.CAMPAIGN_SERVICE_CERT_FILE),
    key: pem(settings.CAMPAIGN_SERVICE_KEY_FILE),
  });
}

export function closeIdleConnections(agent: HttpAgent): void {
  for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy();
}
