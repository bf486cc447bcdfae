import { spawnSync } from 'node:child_process';

export const isInstalled = (program: string) => spawnSync('sh', ['-c', 'command -v "$0"', program]).status === 0;

/** Announces and installs the Debian packages whose program is missing. Returns the programs that are still missing. */
export function installMissing(packageByProgram: Readonly<Record<string, string>>): string[] {
  const missing = Object.keys(packageByProgram).filter((program) => !isInstalled(program));
  if (missing.length === 0) return [];
  const packages = missing.map((program) => packageByProgram[program] ?? '');
  process.stderr.write(`Installing Debian packages with apt-get: ${packages.join(' ')}\n`);
  const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  // A failed update is no reason to stop: the existing package lists may suffice.
  spawnSync('apt-get', ['update'], options);
  spawnSync('apt-get', ['install', '-y', '--no-install-recommends', ...packages], options);
  return missing.filter((program) => !isInstalled(program));
}
