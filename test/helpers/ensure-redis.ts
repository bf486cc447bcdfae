import { execFileSync } from 'node:child_process';

/** The tests talk to a real Redis. Where there is none, and this is a Debian machine with root, it is installed. */
export default function ensureRedis(): void {
  if (isThere()) return;
  try {
    for (const words of [['update'], ['install', '-y', '--no-install-recommends', 'redis-server']]) {
      execFileSync('apt-get', words, { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
    }
  } catch {
    // Said below.
  }
  if (!isThere()) {
    throw new Error(
      'The tests need redis-server (7 or later) in the PATH: install it, for example with "apt-get install redis-server".',
    );
  }
}

function isThere(): boolean {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
