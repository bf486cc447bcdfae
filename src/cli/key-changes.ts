import { userInfo } from 'node:os';
import { type ApiKey, actorSchema, type KeyChange, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { once, type TextOutput } from './command.ts';
import { findKey } from './open-stores.ts';

/** Who changes a key, for its history and the audit log. */
export const actorOption = once(actorSchema).default(getSystemUser);

export function createChange(action: KeyChange['action'], actor: string, otherKey: string | null = null): KeyChange {
  return { at: new Date().toISOString(), actor, action, otherKey };
}

/** Writes one line to the audit log, whatever LOG_LEVEL is. `removed`: a record that leaves no history. */
export function logChange(
  stderr: TextOutput,
  keyId: string,
  { at, actor, action, otherKey }: Omit<KeyChange, 'action'> & { readonly action: KeyChange['action'] | 'removed' },
): void {
  const fields = { level: 'info', time: at, service: 'campaign-gateway', key_id: keyId, action, actor };
  stderr.write(`${JSON.stringify({ ...fields, other_key_id: otherKey ?? undefined, msg: 'key changed' })}\n`);
}

/**
 * Applies the fields that `update` returns, and retries until no other change interferes. Changes nothing if `update`
 * returns undefined. Returns the record in force.
 */
export async function changeKey(
  keys: KeyStore,
  id: string,
  change: KeyChange,
  update: (record: ApiKey) => Partial<ApiKey> | undefined,
): Promise<ApiKey> {
  for (;;) {
    const record = await findKey(keys, id);
    const fields = update(record);
    if (!fields) return record;
    const changed = withChange(record, fields, change);
    if (await keys.replace(changed, record.version)) return changed;
  }
}

/** The user of a container may have no name. */
function getSystemUser(): string {
  try {
    return actorSchema.parse(userInfo().username);
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
