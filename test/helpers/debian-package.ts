import { execFileSync } from 'node:child_process';

/** Returns whether a program is available, after trying to install its Debian package where it is missing. */
export function ensureProgram(program: string, debianPackage: string): boolean {
  if (isInstalled(program)) return true;
  // A failed update is no reason to stop: the existing package lists may suffice.
  aptGet('update');
  aptGet('install', '-y', '--no-install-recommends', debianPackage);
  return isInstalled(program);
}

/** Waits for the lock of another test file that installs a package. */
function aptGet(...args: readonly string[]): void {
  try {
    execFileSync('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...args], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch {
    // The caller checks for the program itself.
  }
}

export function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
