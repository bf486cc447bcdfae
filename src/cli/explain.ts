import { cachePolicy } from '../cache/freshness.ts';
import { publicEndpoints } from '../endpoints/index.ts';
import { serverLimits } from '../http/server-limits.ts';
import { parseRateLimit } from '../rate-limit/rate-limiter.ts';
import { loadSettings } from '../settings/load.ts';
import { createLog } from '../telemetry/log.ts';
import { CommandError, printJson, printTable } from './command.ts';
import { type Explanation, explain } from './explain-stages.ts';
import { type Flags, rejectOtherFlags } from './flags.ts';
import { findKey } from './key-command.ts';
import { openInspector } from './open-stores.ts';

/** `explain --key-id ID --path PATH`: what each stage would decide, without forwarding and without counting. */
export async function runExplain(args: readonly string[], flags: Flags): Promise<string> {
  if (args.length > 0) throw new CommandError('usage', 'explain takes options only: --key-id and --path.');
  rejectOtherFlags(flags, ['key-id', 'path'], 'explain');
  const { 'key-id': keyId, path } = flags;
  if (!keyId || !path) throw new CommandError('usage', 'Name a key and a path: --key-id ID --path /v1/….');
  if (!/^\/[!-~]*$/.test(path) || path.length > serverLimits.targetBytes) {
    const form = `begin with / and be at most ${serverLimits.targetBytes} visible ASCII characters, as a client sends it`;
    throw new CommandError('usage', `--path must ${form}.`);
  }
  const settings = loadSettings(process.env, [
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
  ]);
  const stores = await openInspector(settings, createLog({ LOG_LEVEL: 'silent' }));
  try {
    const explanation = await explain(await findKey(stores.keys, keyId), path, {
      endpoints: publicEndpoints(settings),
      defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
      cachePolicy: settings.CACHE_TTL_MS > 0 ? cachePolicy(settings) : undefined,
      peekLimits: stores.peekLimits,
      peekEntry: stores.peekEntry,
      now: Date.now,
    });
    return flags.json ? printJson(explanation) : formatExplanation(explanation);
  } finally {
    await stores.close();
  }
}

function formatExplanation({ stages, response: answer }: Explanation): string {
  const rows = stages.map(({ stage, result: verdict, status, details }) => [
    stage === 'accountGroup' ? 'account group' : stage,
    status === null ? verdict : `${verdict} ${status}`,
    details,
  ]);
  const decision = answer ? `${answer.status}${answer.code ? ` ${answer.code}` : ''}` : unknownDecider(stages);
  return `${printTable([['STAGE', 'VERDICT', ''], ...rows])}\nAnswer: ${decision}\n`;
}

function unknownDecider(stages: Explanation['stages']): string {
  return stages.some(({ result: verdict }) => verdict === 'unknown')
    ? "depends on the gateway's own memory"
    : "the campaign service's";
}
