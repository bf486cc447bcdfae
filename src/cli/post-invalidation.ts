import { request } from 'node:http';
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
  const body = JSON.stringify({ accountGroupId, campaignId: documentId, mode });
  const status = await post(`${url}/cache/invalidations`, OPS_TOKEN, body).catch(() => {
    const hint = 'set OPS_HOST and OPS_PORT to the operations listener of a running gateway, or set REDIS_URL';
    throw new CommandError('store_unavailable', `No gateway responds at ${url}: ${hint}.`);
  });
  if (status === 202) return;
  const problem = status === 401 ? 'rejected OPS_TOKEN' : `responded with status ${status}`;
  throw new CommandError('store_unavailable', `The gateway at ${url} ${problem}.`);
}

/** Resolves to the status. Unlike this, `fetch` refuses some ports that are valid for `OPS_PORT`, such as 10080. */
function post(url: string, token: string | undefined, body: string): Promise<number | undefined> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const options = { method: 'POST', headers, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) };
  return new Promise((resolve, reject) => {
    request(url, options, (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end(body);
  });
}
