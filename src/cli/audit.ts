import { userInfo } from 'node:os';
import { pino } from 'pino';
import { actorSchema, type KeyChange } from '../keys/api-key.ts';
import type { CommandInput } from './command.ts';
import { CommandError } from './command-error.ts';

/** Records who changes keys: in the history of each record, and as log lines on standard error. */
export interface Audit {
  createChange(action: KeyChange['action'], otherKey?: string): KeyChange;
  /** Call after the change is stored. `removed`: a corrupt record, which has no history. */
  log(keyId: string, change: KeyChange | { readonly action: 'removed' }): void;
}

/** Logs whatever LOG_LEVEL is. Throws `CommandError` if --actor is invalid. */
export function createAudit({ flags, stderr }: Pick<CommandInput, 'flags' | 'stderr'>): Audit {
  const actor = parseActor(flags.actor);
  const log = pino(
    {
      base: { service: 'campaign-gateway', pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line) => void stderr.write(line) },
  );
  return {
    createChange: (action, otherKey) => ({ at: new Date().toISOString(), actor, action, otherKey: otherKey ?? null }),
    log: (keyId, change) => {
      const otherKeyId = 'otherKey' in change ? (change.otherKey ?? undefined) : undefined;
      log.info({ key_id: keyId, action: change.action, actor, other_key_id: otherKeyId }, 'key changed');
    },
  };
}

function parseActor(actor: string | undefined): string {
  if (actor === undefined) return getSystemUser();
  const { success, error } = actorSchema.safeParse(actor);
  if (!success) throw new CommandError('usage', `--actor ${error.issues[0]?.message}.`);
  return actor;
}

/** The user of a container may have no name. */
function getSystemUser(): string {
  try {
    return actorSchema.parse(userInfo().username);
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
