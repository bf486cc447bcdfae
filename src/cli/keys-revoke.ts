import { type ApiKey, type KeyChange, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { CorruptRecordError } from '../redis/store-errors.ts';
import { createAudit } from './audit.ts';
import type { Command } from './command.ts';
import { findKey, type KeyStores, withKeyStores } from './key-stores.ts';
import { readLastUsed, toPublicKey } from './key-view.ts';
import { formatJson } from './output.ts';

/** Revokes a key. A corrupt record is removed instead, and so is its last use. */
export const revokeKey: Command = {
  flags: ['actor'],
  takesId: true,
  run: async (input) => {
    const { id, flags, env } = input;
    const audit = createAudit(input);
    return withKeyStores(env, async (stores) => {
      const result = await revoke(stores.keys, id, audit.createChange('revoked')).catch(ignoreCorruptRecord);
      if (!result) {
        await remove(stores, id);
        audit.log(id, { action: 'removed' });
        return flags.json ? formatJson({ id, status: 'removed' }) : `Removed the corrupt record of key ${id}.\n`;
      }
      const { revoked, change } = result;
      if (change) audit.log(id, change);
      if (!flags.json) return `Key ${id} (${revoked.name}) is revoked as of ${revoked.revokedAt}.\n`;
      return formatJson(toPublicKey(revoked, (await readLastUsed(stores.lastUsed, [id])).get(id)));
    });
  },
};

/** Retries until no other change interferes. Revoking a revoked key changes nothing. */
async function revoke(
  keys: KeyStore,
  id: string,
  change: KeyChange,
): Promise<{ readonly revoked: ApiKey; readonly change?: KeyChange }> {
  for (;;) {
    const record = await findKey(keys, id);
    if (record.revokedAt !== null) return { revoked: record };
    const revoked = withChange(record, { revokedAt: change.at }, change);
    if (await keys.replace(revoked, record.version)) return { revoked, change };
  }
}

function ignoreCorruptRecord(error: unknown): undefined {
  if (!(error instanceof CorruptRecordError)) throw error;
}

async function remove({ keys, lastUsed }: KeyStores, id: string): Promise<void> {
  await keys.remove(id);
  await lastUsed?.remove(id);
}
