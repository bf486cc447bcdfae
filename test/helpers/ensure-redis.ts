import { installMissing } from './debian-package.ts';

/** Global set-up: the tests use a real Redis. */
export default function ensureRedis(): void {
  if (installMissing(['redis-server']).length > 0) {
    throw new Error(
      'The tests need redis-server 7 or later in the PATH. Install it, for example with "apt-get install redis-server".',
    );
  }
}
