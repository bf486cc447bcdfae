import { execFileSync } from 'node:child_process';

export function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Announces and installs the Debian packages whose program is missing. Returns the programs that are still missing. */
export function installMissing(packageByProgram: Readonly<Record<string, string>>): string[] {
  const missing = Object.keys(packageByProgram).filter((program) => !isInstalled(program));
  if (missing.length === 0) return [];
  const packages = missing.map((program) => packageByProgram[program] ?? '');
  process.stderr.write(`Installing Debian packages with apt-get: ${packages.join(' ')}\n`);
  // A failed update is no reason to stop: the existing package lists may suffice.
  aptGet('update');
  aptGet('install', '-y', '--no-install-recommends', ...packages);
  return missing.filter((program) => !isInstalled(program));
}

function aptGet(...args: readonly string[]): void {
  try {
    execFileSync('apt-get', args, { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  } catch {
    // The caller checks for the programs.
  }
}
