import { userInfo } from 'node:os';
import { type ApiKey, actorSchema, type KeyChange, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { compareRecords, type FieldChanges } from '../keys/record-changes.ts';
import { once, type TextOutput } from './command.ts';
import { CommandError } from './command-error.ts';
import { findKey } from './open-stores.ts';

/** Who changes a key, for its history and the audit log. */
export const actorOption = once(actorSchema).default(getSystemUser);
export const actorHelp = [
  'NAME',
  'Who makes the change, for the history and the audit log. Default: the system user.',
] as const;

export function createChange(action: KeyChange['action'], actor: string, otherKey: string | null = null): KeyChange {
  return { at: new Date().toISOString(), actor, action, otherKey };
}

/**
 * Writes one line to the audit log, whatever LOG_LEVEL is. Writes nothing to a terminal, where the output of the command
 * already states the change. `removed`: a record that leaves no history.
 */
export function logChange(
  stderr: TextOutput,
  keyId: string,
  change: Omit<KeyChange, 'action'> & { readonly action: KeyChange['action'] | 'removed' },
  changed: FieldChanges = {},
): void {
  if (stderr.isTTY) return;
  const { at, actor, action, otherKey } = change;
  const fields = { level: 'info', time: at, service: 'campaign-gateway', key_id: keyId, action, actor };
  stderr.write(`${JSON.stringify({ ...fields, other_key_id: otherKey ?? undefined, changed, msg: 'key changed' })}\n`);
}

/**
 * Applies the fields that `update` returns, and retries until no other change interferes. Changes nothing if `update`
 * returns undefined. Returns the record in force and, if it changed, the changed fields.
 */
export async function changeKey(
  keys: KeyStore,
  id: string,
  change: KeyChange,
  update: (record: ApiKey) => Partial<ApiKey> | undefined,
): Promise<{ readonly record: ApiKey; readonly changed?: FieldChanges }> {
  for (;;) {
    const previous = await findKey(keys, id);
    const fields = update(previous);
    if (!fields) return { record: previous };
    const record = withChange(previous, fields, change);
    if (await keys.replace(record, previous.version)) return { record, changed: compareRecords(previous, record) };
  }
}

/** Revocation is permanent. */
export function assertNotRevoked({ id, revokedAt }: ApiKey): void {
  if (revokedAt !== null) {
    throw new CommandError('usage', `Key ${id} is revoked and cannot be changed. Create a new key.`);
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
