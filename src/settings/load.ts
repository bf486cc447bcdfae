import { readFileSync } from 'node:fs';
import { findConflicts } from './conflicts.ts';
import {
  describeSetting,
  type SettingName,
  type Settings,
  secretSettings,
  settingDefinitions,
  settingNames,
} from './definitions.ts';

/** The settings are invalid: one sentence per problem. Values of secrets are not quoted. */
export class SettingsError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`Invalid settings:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** Placeholder for a value that could not be read or parsed, so that no other setting is reported because of its absence. */
const INVALID = null;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Parses all settings, or only the named ones. An empty variable counts as unset. Throws `SettingsError`. */
export function loadSettings(environment: Environment): Settings;
export function loadSettings<Name extends SettingName>(
  environment: Environment,
  names: readonly Name[],
): Pick<Settings, Name>;
export function loadSettings(
  environment: Environment,
  names: readonly SettingName[] = settingNames,
): Partial<Settings> {
  const problems: string[] = [];
  const settings: Record<string, unknown> = {};
  for (const name of names) {
    const [schema] = settingDefinitions[name];
    const text = readEnv(environment, name, problems);
    const result = schema.safeParse(text);
    settings[name] = result.success ? result.data : INVALID;
    if (result.success || text === INVALID) continue;
    if (text === undefined) problems.push(`${name} is required: ${describeSetting(name)}`);
    else problems.push(`${name} must be ${result.error.issues[0]?.message}${quoteValue(name, text)}`);
  }
  problems.push(...findConflicts(settings as Partial<Settings>));
  if (problems.length > 0) throw new SettingsError(problems);
  return settings as Partial<Settings>;
}

/** The default of a setting as text; undefined if it has none. */
export function defaultText(name: SettingName): string | undefined {
  const result = settingDefinitions[name][0].safeParse(undefined);
  return result.success && result.data !== undefined ? String(result.data) : undefined;
}

/** Where the value of a setting comes from. */
export function findSource(environment: Environment, name: SettingName): 'environment' | 'default' | `${string}_FILE` {
  if (environment[name]) return 'environment';
  return secretSettings.includes(name) && environment[`${name}_FILE`] ? `${name}_FILE` : 'default';
}

/** The settings in force as JSON values. Secrets are masked: in `REDIS_URL`, only the user name and the password. */
export function redactSettings(settings: Settings): Record<SettingName, string | number | boolean | null> {
  const entries = settingNames.map((name) => {
    const value = settings[name];
    if (value === undefined) return [name, null];
    if (name === 'REDIS_URL') return [name, maskCredentials(String(value))];
    if (secretSettings.includes(name)) return [name, '********'];
    return [name, value instanceof URL ? value.href.replace(/\/$/, '') : value];
  });
  return Object.fromEntries(entries);
}

/** `INVALID` if the file of a secret cannot be read. */
function readEnv(environment: Environment, name: SettingName, problems: string[]): string | typeof INVALID | undefined {
  const value = environment[name] || undefined;
  const secretFile = secretSettings.includes(name) ? environment[`${name}_FILE`] || undefined : undefined;
  if (secretFile === undefined) return value;
  if (value !== undefined) problems.push(`${name} and ${name}_FILE must not both be set`);
  const secret = readSecret(secretFile);
  if (secret === '') {
    problems.push(`${name}_FILE must be the path of a readable, non-empty file${quoteFile(secretFile)}`);
  }
  return secret || value || INVALID;
}

/** Empty if the file cannot be read. */
function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Replaces the user name and the password of a URL, which may be malformed. */
export function maskCredentials(url: string): string {
  return url.replace(/^((?:[a-z][a-z+]*:(?=[/\\]))?[/\\]*).*@/is, '$1***@');
}

const MAX_QUOTED_CHARS = 100;

/** Empty for a secret. User names, passwords and queries of URLs are masked: they may hold one too. */
function quoteValue(name: SettingName, text: string): string {
  if (secretSettings.includes(name)) return '';
  if (name.endsWith('_FILE')) return quoteFile(text);
  const masked = maskCredentials(text).replace(/\?.*/s, '?***');
  return `, not ${JSON.stringify(masked.slice(0, MAX_QUOTED_CHARS))}`;
}

/** Empty for what is hardly a path: the secret itself may have been set in place of the file that holds it. */
function quoteFile(text: string): string {
  return /^[./][^\n]*$/.test(text) && !text.includes('@')
    ? `, not ${JSON.stringify(text.slice(0, MAX_QUOTED_CHARS))}`
    : '';
}
