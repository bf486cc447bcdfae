import { CorruptRecordError } from '../redis/store-errors.ts';
import { defineCommand } from './command.ts';
import { actorHelp, actorOption, changeKey, createChange, logChange } from './key-changes.ts';
import { readLastUsed, toPublicKey } from './key-view.ts';
import { withStores } from './open-stores.ts';

export const revokeKey = defineCommand({
  usage: 'ID [--actor NAME]',
  summary: 'Revoke a key permanently. A corrupt record is removed.',
  help: { actor: actorHelp },
  example: '48yg9dyreorj43c7',
  options: { actor: actorOption },
  run: ({ operand: id, options: { actor }, env, stderr }) =>
    withStores(env, async (stores) => {
      const change = createChange('revoked', actor);
      try {
        const { record, changed } = await changeKey(stores.keys, id, change, ({ revokedAt }) =>
          revokedAt === null ? { revokedAt: change.at } : undefined,
        );
        if (changed) logChange(stderr, id, change, changed);
        return {
          json: toPublicKey(record, await readLastUsed(stores, [id], stderr)),
          text: `Key ${id} (${record.name}) is revoked as of ${record.revokedAt}.\n`,
        };
      } catch (error) {
        if (!(error instanceof CorruptRecordError)) throw error;
        await stores.keys.remove(id);
        logChange(stderr, id, { ...change, action: 'removed' });
        return { json: { id, status: 'removed' }, text: `Removed the corrupt record of key ${id}.\n` };
      }
    }),
});
