import { onTestFinished } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import type { Environment } from '../helpers/gateway.ts';

/** Starts a gateway without a cache, so that every read reaches the campaign service. It stops after the test. */
export async function startUncached(environment: Environment = {}): Promise<EmbeddedGateway> {
  const embedded = await startEmbeddedGateway({ CACHE_TTL_MS: '0', ...environment });
  onTestFinished(() => embedded.stop());
  return embedded;
}

/** The reason of a 502, or the status of any other response. */
export async function readOutcome(embedded: EmbeddedGateway, campaignId?: string): Promise<string> {
  const { status, body } = await embedded.read(campaignId);
  return body.error?.code === 'UPSTREAM_ERROR' ? (body.error.details.split(':')[0] ?? '') : String(status);
}

export const readMany = (embedded: EmbeddedGateway, count: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => readOutcome(embedded, `cmp_${i}`)));
