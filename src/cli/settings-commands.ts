import { publicEndpoints } from '../endpoints/index.ts';
import { buildOpenApiDocument } from '../openapi/document.ts';
import { settingNames } from '../settings/definitions.ts';
import { findSource, loadSettings, redactSettings } from '../settings/load.ts';
import { defineCommand, formatJson, formatTable } from './command.ts';

export const showConfig = defineCommand({
  usage: '',
  summary: 'Show the settings in force and the source of each, with secrets masked.',
  help: {},
  example: '',
  options: {},
  run: ({ env }) => {
    const settings = redactSettings(loadSettings(env));
    const rows = settingNames.map((name) => [name, formatValue(settings[name]), findSource(env, name)]);
    return { json: settings, text: formatTable([['SETTING', 'VALUE', 'SOURCE'], ...rows]) };
  },
});

function formatValue(value: string | number | boolean | null): string {
  return value === null ? '(not set)' : `${value}` || '(empty)';
}

export const printOpenapi = defineCommand({
  usage: '',
  summary: 'Print the OpenAPI document that a gateway serves at /openapi.json.',
  help: {},
  example: '> openapi.json',
  options: {},
  run: ({ env }) => {
    const settings = loadSettings(env, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER']);
    const document = buildOpenApiDocument(publicEndpoints(settings));
    return { json: document, text: formatJson(document) };
  },
});
