import { keyStatus } from '../keys/api-key.ts';
import { defineCommand, formatTable } from './command.ts';
import {
  byCreation,
  formatAccountGroups,
  formatExpiry,
  formatLastUsed,
  formatMinute,
  readLastUsed,
  toPublicKey,
  toTableRows,
} from './key-view.ts';
import { findKey, withStores } from './open-stores.ts';

const listHeader = ['ID', 'STATUS', 'CREATED', 'EXPIRES', 'LAST USED', 'NAME', 'PERMISSIONS', 'ACCOUNT GROUPS'];
const historyHeader = ['CHANGED', 'ACTION', 'ACTOR', 'FIELDS', 'OTHER KEY'];

export const listKeys = defineCommand({
  usage: '',
  summary: 'List all keys. A key that expires within 14 days is marked with the days that remain.',
  help: {},
  example: '',
  options: {},
  run: ({ env, stderr }) =>
    withStores(env, async (stores) => {
      const { records, corruptIds } = await stores.keys.list();
      records.sort(byCreation);
      const lastUsed = await readLastUsed(
        stores,
        records.map(({ id }) => id),
        stderr,
      );
      const valid = records.map((record) => toPublicKey(record, lastUsed));
      const corrupt = corruptIds.map((id) => ({ id, status: 'corrupt' }));
      const rows = records.map((record) => [
        record.id,
        keyStatus(record, Date.now()),
        formatMinute(record.createdAt),
        formatExpiry(record, Date.now()),
        formatMinute(formatLastUsed(lastUsed, record.id)),
        record.name,
        record.permissions.join(' '),
        formatAccountGroups(record.accountGroupIds),
      ]);
      const table = formatTable([listHeader, ...rows, ...corrupt.map(({ id, status }) => [id, status])]);
      const isEmpty = rows.length + corrupt.length === 0;
      return { json: [...valid, ...corrupt], text: isEmpty ? 'No keys yet. Create one with keys create.\n' : table };
    }),
});

export const showKey = defineCommand({
  usage: 'ID',
  summary: 'Show a key and its history.',
  help: {},
  example: '48yg9dyreorj43c7',
  options: {},
  run: ({ operand: id, env, stderr }) =>
    withStores(env, async (stores) => {
      const record = await findKey(stores.keys, id);
      const { changes } = record;
      const lastUsed = await readLastUsed(stores, [id], stderr);
      const table = formatTable([...toTableRows(record), ['last used', formatLastUsed(lastUsed, id)]]);
      const history = changes.map(({ at, action, actor, fields, otherKey }) => [
        at,
        action,
        actor,
        fields?.join(' ') ?? '',
        otherKey ?? '',
      ]);
      return {
        json: { ...toPublicKey(record, lastUsed), changes },
        text: changes.length === 0 ? table : `${table}\n${formatTable([historyHeader, ...history])}`,
      };
    }),
});
