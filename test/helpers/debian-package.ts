import { execFileSync } from 'node:child_process';

/** Whether a program is there. Where it is not, and this is a Debian machine with root, its package is installed first. */
export function ensureProgram(program: string, debianPackage: string): boolean {
  if (isThere(program)) return true;
  try {
    for (const words of [['update'], ['install', '-y', '--no-install-recommends', debianPackage]]) {
      // Another test file may be installing something too.
      execFileSync('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...words], {
        stdio: 'ignore',
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      });
    }
  } catch {
    // Seen below.
  }
  return isThere(program);
}

export function isThere(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
