import { execFileSync } from 'node:child_process';

/** Whether a program is there. Where it is not, and this is a Debian machine with root, its package is installed first. */
export function ensureProgram(program: string, debianPackage: string): boolean {
  if (isThere(program)) return true;
  // Another test file may be installing something too; where the lists cannot be brought up to date, those there may do.
  aptGet('update');
  aptGet('install', '-y', '--no-install-recommends', debianPackage);
  return isThere(program);
}

function aptGet(...words: readonly string[]): void {
  try {
    execFileSync('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...words], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch {
    // Whether the program is there now is looked at in any case.
  }
}

export function isThere(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
