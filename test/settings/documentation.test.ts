import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { describeSetting, type SettingName, settingNames } from '../../src/settings/definitions.ts';
import { defaultText } from '../../src/settings/load.ts';

async function parseDocument(file: string, pattern: RegExp) {
  const text = await readFile(path.resolve(import.meta.dirname, '../../config', file), 'utf8');
  return [...text.matchAll(pattern)].map(({ groups }) => ({ ...groups }));
}

const describeSettings = (formatDefault: (name: SettingName, value: string | undefined) => string) =>
  settingNames.map((name) => ({
    name,
    description: describeSetting(name),
    value: formatDefault(name, defaultText(name)),
  }));

test('config/gateway.env lists every setting in order with description and default', async () => {
  const documented = await parseDocument('gateway.env', /^# (?<description>.+)\n#?(?<name>[A-Z_]+)=(?<value>.*)$/gm);
  expect(documented).toEqual(describeSettings((_name, value = '') => value));
});

test('config/README.md lists every setting in order with description and default', async () => {
  const row = /^\| `(?<name>[A-Z_]+)` \| (?<value>.*?) \| (?<description>.*) \|$/gm;
  const documented = await parseDocument('README.md', row);
  const formatDefault = (name: SettingName, value: string | undefined) => {
    if (name === 'CAMPAIGN_SERVICE_URL') return 'required';
    if (value === undefined) return 'none';
    return value === '' ? 'empty' : `\`${value}\``;
  };
  expect(documented).toEqual(describeSettings(formatDefault));
});
