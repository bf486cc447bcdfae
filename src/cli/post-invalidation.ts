import type { CacheInvalidation } from '../cache/entry.ts';
import { formatLocalUrl } from '../http/format-url.ts';
import { loadSettings } from '../settings/load.ts';
import type { CliIo } from './command.ts';
import { CommandError } from './command-error.ts';

const TIMEOUT_MS = 5000;

/** Invalidates the memory of a running embedded gateway, through its operations listener. */
export async function postInvalidation(env: CliIo['env'], invalidation: CacheInvalidation): Promise<void> {
  const { OPS_HOST, OPS_PORT, OPS_TOKEN } = loadSettings(env, ['OPS_HOST', 'OPS_PORT', 'OPS_TOKEN']);
  const { accountGroupId, documentId, mode } = invalidation;
  const url = formatLocalUrl(OPS_HOST, OPS_PORT);
  const response = await fetch(`${url}/cache/invalidations`, {
    method: 'POST',
    headers: OPS_TOKEN === undefined ? {} : { authorization: `Bearer ${OPS_TOKEN}` },
    body: JSON.stringify({ accountGroupId, campaignId: documentId, mode }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch(() => {
    const hint = 'set OPS_HOST and OPS_PORT to the operations listener of a running gateway, or set REDIS_URL';
    throw new CommandError('store_unavailable', `No gateway responds at ${url}: ${hint}.`);
  });
  await response.body?.cancel();
  if (response.status === 202) return;
  const problem = response.status === 401 ? 'rejected OPS_TOKEN' : `responded with status ${response.status}`;
  throw new CommandError('store_unavailable', `The gateway at ${url} ${problem}.`);
}
