import { publicEndpoints } from '../endpoints/index.ts';
import { loadSettings } from '../settings/load.ts';
import type { TextOutput } from './command.ts';

/** Warns of permissions that no endpoint requires: they may be misspelled, or for a later version of the gateway. */
export function warnAboutPermissions(stderr: TextOutput, permissions: readonly string[]): void {
  // Which permissions endpoints require does not depend on settings.
  const settings = loadSettings({}, ['CAMPAIGN_SERVICE_PATH', 'CAMPAIGN_SERVICE_RESULT_POINTER']);
  const required = [...new Set(publicEndpoints(settings).map(({ permission }) => permission))];
  const unknown = permissions.filter((permission) => !required.includes(permission));
  if (unknown.length === 0) return;
  stderr.write(`Warning: no endpoint requires ${unknown.join(', ')}. Known permissions: ${required.join(', ')}.\n`);
}
