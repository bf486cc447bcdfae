import { z } from 'zod';
import { cachePolicy } from '../cache/freshness.ts';
import { publicEndpoints } from '../endpoints/index.ts';
import { serverLimits } from '../http/server-limits.ts';
import { openApiRoutes } from '../openapi/routes.ts';
import { parseRateLimit } from '../rate-limit/rate-limiter.ts';
import { loadSettings } from '../settings/load.ts';
import { defineCommand, formatTable, once } from './command.ts';
import { type Explanation, explain } from './explain-stages.ts';
import { findKey, withStores } from './open-stores.ts';

const settingNames = [
  'RATE_LIMIT_DEFAULT',
  'CACHE_TTL_MS',
  'CACHE_STALE_WHILE_REVALIDATE_MS',
  'CACHE_STALE_IF_ERROR_MS',
  'CACHE_NOT_FOUND_TTL_MS',
  'CAMPAIGN_SERVICE_PATH',
  'CAMPAIGN_SERVICE_RESULT_POINTER',
  'DOCS',
] as const;

const pathSchema = z
  .string()
  .regex(
    /^(?:https?:\/\/[^/?#]+|(?=\/))[!-~]*$/i,
    'must be a URL or start with /, and consist of visible ASCII characters',
  )
  .max(serverLimits.targetBytes, `must have at most ${serverLimits.targetBytes} characters`);

export const explainRequest = defineCommand({
  usage: '--key-id ID --path /v1/accounts/GROUP/campaigns/CAMPAIGN',
  summary: 'Show what each stage would decide for a GET request, without sending it.',
  help: {
    'key-id': ['ID', 'Id of the key, as keys list prints it.'],
    path: ['PATH', 'Path of the request, or its full URL.'],
  },
  example: '--key-id 48yg9dyreorj43c7 --path /v1/accounts/ag_north/campaigns/cmp_1',
  options: { 'key-id': once(z.string()), path: once(pathSchema) },
  run: ({ options: { 'key-id': keyId, path }, env }) => {
    const settings = loadSettings(env, settingNames);
    const endpoints = publicEndpoints(settings);
    return withStores(env, async ({ keys, redis }) => {
      const explanation = await explain(await findKey(keys, keyId), path, {
        redis,
        endpoints,
        publicRoutes: openApiRoutes(endpoints, settings.DOCS),
        defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
        cachePolicy: settings.CACHE_TTL_MS > 0 ? cachePolicy(settings) : undefined,
      });
      return { json: explanation, text: formatExplanation(explanation) };
    });
  },
});

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
