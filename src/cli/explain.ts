import { cachePolicy } from '../cache/freshness.ts';
import { publicEndpoints } from '../endpoints/index.ts';
import { serverLimits } from '../http/server-limits.ts';
import { parseRateLimit } from '../rate-limit/rate-limiter.ts';
import { loadSettings } from '../settings/load.ts';
import type { Command } from './command.ts';
import { CommandError } from './command-error.ts';
import { type Explanation, explain } from './explain-stages.ts';
import type { Flags } from './flags.ts';
import { findKey } from './key-stores.ts';
import { openInspector } from './open-stores.ts';
import { formatJson, formatTable } from './output.ts';
import { silentLog } from './silent-log.ts';

const settingNames = [
  'REDIS_URL',
  'REDIS_KEY_PREFIX',
  'KEYS_FILE',
  'RATE_LIMIT_DEFAULT',
  'CACHE_TTL_MS',
  'CACHE_STALE_WHILE_REVALIDATE_MS',
  'CACHE_STALE_IF_ERROR_MS',
  'CACHE_NOT_FOUND_TTL_MS',
  'CAMPAIGN_SERVICE_PATH',
  'CAMPAIGN_SERVICE_RESULT_POINTER',
] as const;

export const explainRequest: Command = {
  flags: ['key-id', 'path'],
  run: async ({ flags, env }) => {
    const { keyId, path } = parseOptions(flags);
    const settings = loadSettings(env, settingNames);
    const stores = await openInspector(settings, silentLog);
    try {
      const explanation = await explain(await findKey(stores.keys, keyId), path, {
        endpoints: publicEndpoints(settings),
        defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
        cachePolicy: settings.CACHE_TTL_MS > 0 ? cachePolicy(settings) : undefined,
        peekLimits: stores.peekLimits,
        peekEntry: stores.peekEntry,
        now: Date.now,
      });
      return flags.json ? formatJson(explanation) : formatExplanation(explanation);
    } finally {
      await stores.close();
    }
  },
};

function parseOptions({ 'key-id': keyId, path }: Flags): { readonly keyId: string; readonly path: string } {
  if (!keyId || !path) throw new CommandError('usage', 'Give a key and a path: --key-id ID --path /v1/….');
  if (/^\/[!-~]*$/.test(path) && path.length <= serverLimits.targetBytes) return { keyId, path };
  const rule = `start with / and have at most ${serverLimits.targetBytes} visible ASCII characters`;
  throw new CommandError('usage', `--path must ${rule}.`);
}

function formatExplanation({ stages, response }: Explanation): string {
  const rows = stages.map(({ stage, result, status, details }) => [
    stage,
    status === null ? result : `${result} ${status}`,
    details,
  ]);
  const table = formatTable([['STAGE', 'RESULT', 'DETAILS'], ...rows]);
  return `${table}\nResponse: ${response ? formatResponse(response) : describeOpenOutcome(stages)}\n`;
}

function formatResponse({ status, code }: NonNullable<Explanation['response']>): string {
  return code ? `${status} ${code}` : `${status}`;
}

function describeOpenOutcome(stages: Explanation['stages']): string {
  const isUnknown = stages.some(({ result }) => result === 'unknown');
  return isUnknown ? 'unknown (depends on the memory of the gateway)' : 'decided by the campaign service';
}
