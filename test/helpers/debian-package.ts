import { spawnSync } from 'node:child_process';

export const isInstalled = (program: string) => spawnSync('sh', ['-c', 'command -v "$0"', program]).status === 0;

/** Announces and installs those of the Debian packages whose program, of the same name, is missing. Returns what still is. */
export function installMissing(programs: readonly string[]): string[] {
  const missing = programs.filter((program) => !isInstalled(program));
  if (missing.length === 0) return [];
  process.stderr.write(`Installing Debian packages with apt-get: ${missing.join(' ')}\n`);
  const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  // A failed update is no reason to stop: the existing package lists may suffice.
  spawnSync('apt-get', ['update'], options);
  spawnSync('apt-get', ['install', '-y', '--no-install-recommends', ...missing], options);
  return missing.filter((program) => !isInstalled(program));
}
