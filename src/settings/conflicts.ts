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
  if ((settings.CAMPAIGN_SERVICE_CERT_FILE === undefined) !== (settings.CAMPAIGN_SERVICE_KEY_FILE === undefined)) {
    problems.push('CAMPAIGN_SERVICE_CERT_FILE and CAMPAIGN_SERVICE_KEY_FILE must be set together');
  }
  if (!isValidTlsMaterial(settings)) {
    problems.push('CAMPAIGN_SERVICE_CA_FILE, …_CERT_FILE and …_KEY_FILE must hold certificates and the matching key');
  }
  return problems;
}

function isValidTlsMaterial(settings: Partial<Settings>): boolean {
  const readPem = (file: string | null | undefined) => (file ? readFileSync(file) : undefined);
  const { CAMPAIGN_SERVICE_CA_FILE, CAMPAIGN_SERVICE_CERT_FILE, CAMPAIGN_SERVICE_KEY_FILE } = settings;
  try {
    const ca = readPem(CAMPAIGN_SERVICE_CA_FILE);
    if (ca) new X509Certificate(ca); // createSecureContext ignores PEM blocks that are not certificates.
    createSecureContext({ ca, cert: readPem(CAMPAIGN_SERVICE_CERT_FILE), key: readPem(CAMPAIGN_SERVICE_KEY_FILE) });
    return true;
  } catch {
    return false;
  }
}
