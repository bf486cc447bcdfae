import type { Command } from './command.ts';
import { findKey, withKeyStores } from './key-stores.ts';
import { readLastUsed, toPublicKey, toTableRows } from './key-view.ts';
import { formatJson, formatTable } from './output.ts';

export const showKey: Command = {
  flags: [],
  takesId: true,
  run: ({ id, flags, env }) =>
    withKeyStores(env, async ({ keys, lastUsed: store }) => {
      const record = await findKey(keys, id);
      const { changes } = record;
      const lastUsed = await readLastUsed(store, [id]);
      if (flags.json) return formatJson({ ...toPublicKey(record, lastUsed.get(id)), changes });
      const table = formatTable([...toTableRows(record), ['last used', lastUsed.format(id)]]);
      if (changes.length === 0) return table;
      const rows = changes.map(({ at, action, actor, otherKey }) => [at, action, actor, otherKey ?? '']);
      return `${table}\n${formatTable([['CHANGED', 'ACTION', 'ACTOR', 'OTHER KEY'], ...rows])}`;
    }),
};
