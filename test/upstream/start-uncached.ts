import { onTestFinished } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import type { Environment } from '../helpers/gateway.ts';
import type { Responder } from '../helpers/upstream.ts';

/** Starts a gateway without a cache, so that every read reaches the campaign service. It stops after the test. */
export async function startUncached(environment: Environment = {}): Promise<EmbeddedGateway> {
  const embedded = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', ...environment });
  onTestFinished(() => embedded.stop());
  return embedded;
}

/** The status of a read, and the reason of a 502. */
export async function read(embedded: EmbeddedGateway): Promise<{ status: number; reason: string | undefined }> {
  const { status, body } = await embedded.read();
  return { status, reason: body.error?.details.split(':')[0] };
}

export const readMany = (embedded: EmbeddedGateway, count: number) =>
  Promise.all(Array.from({ length: count }, () => read(embedded)));

/** Responds to each request with the next responder, and repeats the last one. */
export function sequence(...responders: Responder[]): Responder {
  let i = 0;
  return (request, response) => responders[Math.min(i++, responders.length - 1)]?.(request, response);
}

export const reset: Responder = (request) => request.socket.resetAndDestroy();
