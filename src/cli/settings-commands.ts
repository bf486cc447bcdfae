import { publicEndpoints } from '../endpoints/index.ts';
import { buildOpenApiDocument } from '../openapi/document.ts';
import { loadSettings, redactSettings } from '../settings/load.ts';
import { defineCommand, formatJson, formatTable } from './command.ts';

export const showConfig = defineCommand({
  usage: '',
  summary: 'Show the settings in force, with secrets masked.',
  options: {},
  run: ({ env }) => {
    const settings = redactSettings(loadSettings(env));
    const rows = Object.entries(settings).map(([name, value]) => [name, String(value ?? '(not set)')]);
    return { json: settings, text: formatTable(rows) };
  },
});

export const printOpenapi = defineCommand({
  usage: '',
  summary: 'Print the OpenAPI document that a gateway serves at /openapi.json.',
  options: {},
  run: ({ env }) => {
    const settings = loadSettings(env, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER']);
    const document = buildOpenApiDocument(publicEndpoints(settings));
    return { json: document, text: formatJson(document) };
  },
});
