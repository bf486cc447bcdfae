import { publicEndpoints } from '../endpoints/public-endpoints.ts';
import { readSettings } from '../read-settings.ts';
import { describeApi } from '../reference/describe-api.ts';
import { CommandError, printJson } from './command.ts';
import { allowFlags, type Flags } from './flags.ts';

/** `openapi`: the description that a gateway serves at /openapi.json. */
export function runOpenapi(args: readonly string[], flags: Flags): string {
  if (args.length > 0) throw new CommandError('usage', 'openapi takes no arguments.');
  allowFlags(flags, [], 'openapi');
  return printJson(
    describeApi(
      publicEndpoints(readSettings(process.env, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER'])),
    ),
  );
}
