import type { Script, ScriptArgs } from './client.ts';
import type { StoreUnavailableError } from './store-errors.ts';

/** Runs the script for one item. `getArgs` is called when the item is sent. */
export type BatchedScript = (keys: readonly string[], getArgs: () => ScriptArgs) => Promise<unknown>;

interface Item extends Pick<PromiseWithResolvers<unknown>, 'resolve' | 'reject'> {
  readonly keys: readonly string[];
  readonly getArgs: () => ScriptArgs;
}

/** Items per call. Redis serves no other client while a script runs. */
const MAX_ITEMS = 32;

/**
 * The script that runs `lua` once per item, with the item's KEYS and ARGV. `ARGV[1]` is the number of keys per item. Then
 * follow, for each item, the number of its arguments and the arguments. Returns one reply per item: if one fails, in a full
 * Redis for instance, the others still count.
 */
export function toBatchScript(lua: string): string {
  return `
local function run(KEYS, ARGV)
${lua}
end
local replies, keys_per_item, last = {}, tonumber(ARGV[1]), 1
for first_key = 1, #KEYS, keys_per_item do
  local first = last + 2
  last = last + 1 + ARGV[last + 1]
  local keys, args = { unpack(KEYS, first_key, first_key + keys_per_item - 1) }, { unpack(ARGV, first, last) }
  local is_run, reply = pcall(run, keys, args)
  if not is_run and type(reply) ~= 'table' then reply = { err = reply } end
  replies[#replies + 1] = reply
end
return replies`;
}

interface BatchOptions {
  readonly script: Script;
  readonly canShareCalls: boolean;
  /** Called with the error of one item. */
  readonly toStoreError: (error: Error) => StoreUnavailableError;
}

/**
 * Runs `script`, which `toBatchScript` returned, once for all items of a turn of the event loop. `canShareCalls`: false in a
 * cluster, where the keys of two items may be on different nodes.
 */
export function createBatchedScript({ script, canShareCalls, toStoreError }: BatchOptions): BatchedScript {
  const maxItems = canShareCalls ? MAX_ITEMS : 1;
  let pending: Item[] = [];

  function sendPending(): void {
    const items = pending;
    pending = [];
    for (let i = 0; i < items.length; i += maxItems) void send(items.slice(i, i + maxItems));
  }

  async function send(items: readonly Item[]): Promise<void> {
    try {
      const keys: string[] = [];
      const args: (string | number)[] = [items[0]?.keys.length ?? 0];
      for (const item of items) {
        const itemArgs = item.getArgs();
        keys.push(...item.keys);
        args.push(itemArgs.length, ...itemArgs);
      }
      const replies = (await script(keys, args)) as unknown[];
      for (const [i, { resolve, reject }] of items.entries()) {
        const reply = replies[i];
        if (reply instanceof Error) reject(toStoreError(reply));
        else resolve(reply);
      }
    } catch (error) {
      for (const { reject } of items) reject(error);
    }
  }

  return function runBatched(keys, getArgs) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (pending.length === 0) setImmediate(sendPending);
    pending.push({ keys, getArgs, resolve, reject });
    return promise;
  };
}
