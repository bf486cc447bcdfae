import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Settings } from './definitions.ts';

/** Combinations of settings that cannot work. A null or undefined setting was invalid or not requested. */
export function findConflicts(settings: Partial<Settings>): string[] {
  const problems: string[] = [];
  if ((settings.WORKERS ?? 1) > 1 && settings.REDIS_URL === undefined) {
    problems.push('WORKERS must be 1 unless REDIS_URL is set: embedded stores belong to one process');
  }
  for (const name of ['CAMPAIGN_SERVICE', 'REDIS'] as const) {
    const [ca, cert, key] = [settings[`${name}_CA_FILE`], settings[`${name}_CERT_FILE`], settings[`${name}_KEY_FILE`]];
    if ((cert === undefined) !== (key === undefined)) {
      problems.push(`${name}_CERT_FILE and ${name}_KEY_FILE must be set together`);
    }
    if (!isValidTlsMaterial(ca, cert, key)) {
      problems.push(`${name}_CA_FILE, …_CERT_FILE and …_KEY_FILE must hold certificates and the matching key`);
    }
  }
  return problems;
}

/** Settings that only some addresses use. */
const addressSettings = [
  {
    url: 'CAMPAIGN_SERVICE_URL',
    scheme: 'https',
    names: ['CAMPAIGN_SERVICE_CA_FILE', 'CAMPAIGN_SERVICE_CERT_FILE', 'CAMPAIGN_SERVICE_KEY_FILE'],
  },
  { url: 'REDIS_URL', scheme: 'rediss', names: ['REDIS_CA_FILE', 'REDIS_CERT_FILE', 'REDIS_KEY_FILE'] },
  { url: 'REDIS_URL', scheme: 'sentinel', names: ['REDIS_SENTINEL_USERNAME', 'REDIS_SENTINEL_PASSWORD'] },
] as const;

/** One sentence for each setting that the address does not use. */
export function findUnusedSettings(settings: Settings): string[] {
  return addressSettings.flatMap(({ url, scheme, names }) => {
    const [actual = ''] = String(settings[url] ?? '').split('://');
    const unused = actual.includes(scheme) ? [] : names.filter((name) => settings[name] !== undefined);
    return unused.map((name) => `${name} has no effect: the scheme of ${url} does not include ${scheme}`);
  });
}

type File = string | null | undefined;

function isValidTlsMaterial(caFile: File, certFile: File, keyFile: File): boolean {
  const readPem = (file: File) => (file ? readFileSync(file) : undefined);
  try {
    const ca = readPem(caFile);
    if (ca) new X509Certificate(ca); // createSecureContext ignores PEM blocks that are not certificates.
    createSecureContext({ ca, cert: readPem(certFile), key: readPem(keyFile) });
    return true;
  } catch {
    return false;
  }
}
