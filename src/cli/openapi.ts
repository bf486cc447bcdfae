import { publicEndpoints } from '../endpoints/index.ts';
import { buildOpenApiDocument } from '../openapi/document.ts';
import { loadSettings } from '../settings/load.ts';
import type { Command } from './command.ts';
import { formatJson } from './output.ts';

/** Prints the document that a gateway serves at /openapi.json. */
export const printOpenapi: Command = {
  flags: [],
  run: ({ env }) => {
    const settings = loadSettings(env, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER']);
    return formatJson(buildOpenApiDocument(publicEndpoints(settings)));
  },
};
