import type { ApiKey, KeyChange } from '../keys/api-key.ts';
import { type CliIo, type CommandOutput, defineCommand } from './command.ts';
import { actorHelp, actorOption, assertNotRevoked, changeKey, createChange, logChange } from './key-changes.ts';
import { readLastUsed, toPublicKey } from './key-view.ts';
import { withStores } from './open-stores.ts';

const definition = {
  usage: 'ID [--actor NAME]',
  help: { actor: actorHelp },
  example: '48yg9dyreorj43c7',
  options: { actor: actorOption },
};

export const suspendKey = defineCommand({
  ...definition,
  summary: 'Reject a key until it is resumed.',
  run: (input) => setSuspension(input, createChange('suspended', input.options.actor)),
});

export const resumeKey = defineCommand({
  ...definition,
  summary: 'Accept a suspended key again.',
  run: (input) => setSuspension(input, createChange('resumed', input.options.actor)),
});

/** Repeating it changes nothing: a suspended key keeps the time of its first suspension. */
function setSuspension(
  { operand: id, env, stderr }: Pick<CliIo, 'env' | 'stderr'> & { readonly operand: string },
  change: KeyChange,
): Promise<CommandOutput> {
  const update = (record: ApiKey) => {
    assertNotRevoked(record);
    const isSuspending = change.action === 'suspended';
    if ((record.suspendedAt !== null) === isSuspending) return undefined;
    return { suspendedAt: isSuspending ? change.at : null };
  };
  return withStores(env, async (stores) => {
    const { record, changed } = await changeKey(stores.keys, id, change, update);
    if (changed) logChange(stderr, id, change, changed);
    const state = record.suspendedAt === null ? 'not suspended' : `suspended as of ${record.suspendedAt}`;
    return {
      json: toPublicKey(record, await readLastUsed(stores, [id], stderr)),
      text: `Key ${id} (${record.name}) is ${state}.\n`,
    };
  });
}
