import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import {
  describeSetting,
  type SettingName,
  type Settings,
  secretSettings,
  settingDefinitions,
  settingNames,
} from './definitions.ts';

/** Every setting that is wrong, one sentence each. No value is quoted: some are secrets. */
export class SettingsError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The settings are wrong:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** Stands for a value that could not be read, so that no other setting is blamed for its absence. */
const INVALID = null;

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads all settings, or only the named ones. An empty variable is as none. Throws `SettingsError`. */
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
    if (result.success) continue;
    if (text === undefined) problems.push(`${name} is required: ${describeSetting(name)}`);
    else problems.push(`${name} must be ${result.error.issues[0]?.message}`);
  }
  problems.push(...findConflicts(settings as Partial<Settings>));
  if (problems.length > 0) throw new SettingsError(problems);
  return settings as Partial<Settings>;
}

/** The default of a setting, as one would write it in the environment; undefined where there is none. */
export function defaultText(name: SettingName): string | undefined {
  const result = settingDefinitions[name][0].safeParse(undefined);
  return result.success && result.data !== undefined ? String(result.data) : undefined;
}

/** The settings in force, for people to look at: secrets are masked. */
export function redactSettings(settings: Settings): Record<SettingName, string | number | boolean | null> {
  const entries = settingNames.map((name) => {
    const value = settings[name];
    if (value === undefined) return [name, null];
    if (secretSettings.includes(name)) return [name, '********'];
    return [name, value instanceof URL ? value.href.replace(/\/$/, '') : value];
  });
  return Object.fromEntries(entries);
}

function readEnv(environment: Environment, name: SettingName, problems: string[]): string | undefined {
  const value = environment[name] || undefined;
  const secretFile = secretSettings.includes(name) ? environment[`${name}_FILE`] || undefined : undefined;
  if (secretFile === undefined) return value;
  if (value !== undefined) problems.push(`${name} and ${name}_FILE must not both be set`);
  try {
    const secret = readFileSync(secretFile, 'utf8').trim();
    if (secret !== '') return secret;
  } catch {
    // Said below.
  }
  problems.push(`${name}_FILE must be the path of a file that can be read and is not empty`);
  return value;
}

function findConflicts(settings: Partial<Settings>): string[] {
  const problems: string[] = [];
  if ((settings.WORKERS ?? 1) > 1 && settings.REDIS_URL === undefined) {
    problems.push('WORKERS must be 1 unless REDIS_URL is set: embedded stores are those of one process');
  }
  if ((settings.CAMPAIGN_SERVICE_CERT_FILE === undefined) !== (settings.CAMPAIGN_SERVICE_KEY_FILE === undefined)) {
    problems.push('CAMPAIGN_SERVICE_CERT_FILE and CAMPAIGN_SERVICE_KEY_FILE must be set together');
  }
  if (!isValidTlsMaterial(settings)) {
    problems.push('CAMPAIGN_SERVICE_CA_FILE, …_CERT_FILE and …_KEY_FILE must hold certificates and the key that fits');
  }
  return problems;
}

function isValidTlsMaterial(settings: Partial<Settings>): boolean {
  const pem = (file: string | null | undefined) => (file ? readFileSync(file) : undefined);
  const { CAMPAIGN_SERVICE_CA_FILE, CAMPAIGN_SERVICE_CERT_FILE, CAMPAIGN_SERVICE_KEY_FILE } = settings;
  try {
    const ca = pem(CAMPAIGN_SERVICE_CA_FILE);
    if (ca) new X509Certificate(ca); // The context passes over what is no certificate.
    createSecureContext({ ca, cert: pem(CAMPAIGN_SERVICE_CERT_FILE), key: pem(CAMPAIGN_SERVICE_KEY_FILE) });
    return true;
  } catch {
    return false;
  }
}
