import { ensureProgram } from './debian-package.ts';

/** The tests talk to a real Redis. */
export default function ensureRedis(): void {
  if (!ensureProgram('redis-server', 'redis-server')) {
    throw new Error(
      'The tests need redis-server (7 or later) in the PATH: install it, for example with "apt-get install redis-server".',
    );
  }
}
