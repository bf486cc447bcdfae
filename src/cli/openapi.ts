import { publicEndpoints } from '../endpoints/index.ts';
import { buildOpenApiDocument } from '../openapi/document.ts';
import { loadSettings } from '../settings/load.ts';
import { CommandError, printJson } from './command.ts';
import { type Flags, rejectOtherFlags } from './flags.ts';

/** `openapi`: the description that a gateway serves at /openapi.json. */
export function runOpenapi(args: readonly string[], flags: Flags): string {
  if (args.length > 0) throw new CommandError('usage', 'openapi takes no arguments.');
  rejectOtherFlags(flags, [], 'openapi');
  return printJson(
    buildOpenApiDocument(
      publicEndpoints(loadSettings(process.env, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER'])),
    ),
  );
}
