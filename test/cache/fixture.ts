import type { Redis } from 'ioredis';
import type { HttpResponse } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, type Responder, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/** Timeouts under which a loaded machine does not make a gateway skip Redis. */
export const longRedisTimeouts = { REDIS_TIMEOUT_MS: '5000', REDIS_CACHE_TIMEOUT_MS: '5000' };

/** A gateway with a cache, which does not hide failures by retries. */
export const cached = { CACHE_TTL_MS: '30000', CAMPAIGN_SERVICE_RETRIES: '0', ...longRedisTimeouts };

/** Redis keys of the campaign at `campaignPath`. */
export const entryName = `campaign-gateway:{cache:ag_1}:${campaignPath}`;
export const leaseName = `${entryName}:lease`;

export function getCacheStatus({ headers }: HttpResponse): string | undefined {
  return headers.get('cache-status')?.replace('campaign-gateway; ', '');
}

/** Name of the campaign in a response: tests change it at the campaign service to detect old content. */
export function getName({ body }: HttpResponse): unknown {
  return body.data?.['name'];
}

export function respondWithNamed(name: string): Responder {
  return respondWithJson({ ...campaignDocument('cmp_1'), name });
}

/** Waits until the entry is in Redis: a reader gets its response before that. */
export function untilStored(client: Redis): Promise<string> {
  return until(() => client.get(entryName));
}

/** Waits until another gateway waits for the holder of the lease. */
export function untilWatched(client: Redis): Promise<string> {
  return until(() => client.hget(leaseName, 'watched'));
}
