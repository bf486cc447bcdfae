import { keyStatus } from '../keys/api-key.ts';
import type { Command } from './command.ts';
import { withKeyStores } from './key-stores.ts';
import { formatAccountGroups, readLastUsed, toPublicKey } from './key-view.ts';
import { formatJson, formatTable } from './output.ts';

const header = ['ID', 'STATUS', 'LAST USED', 'NAME', 'PERMISSIONS', 'ACCOUNT GROUPS'];

export const listKeys: Command = {
  flags: [],
  run: ({ flags, env }) =>
    withKeyStores(env, async ({ keys, lastUsed: store }) => {
      const { records, corruptIds } = await keys.list();
      const ids = records.map(({ id }) => id);
      const lastUsed = await readLastUsed(store, ids);
      if (flags.json) {
        const valid = records.map((record) => toPublicKey(record, lastUsed.get(record.id)));
        return formatJson([...valid, ...corruptIds.map((id) => ({ id, status: 'corrupt' }))]);
      }
      if (records.length + corruptIds.length === 0) return 'No keys yet. Create one with keys create.\n';
      const rows = records.map((record) => [
        record.id,
        keyStatus(record, Date.now()),
        lastUsed.format(record.id),
        record.name,
        record.permissions.join(' '),
        formatAccountGroups(record.accountGroupIds),
      ]);
      return formatTable([header, ...rows, ...corruptIds.map((id) => [id, 'corrupt'])]);
    }),
};
