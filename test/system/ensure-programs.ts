import { installMissing } from '../helpers/debian-package.ts';

/** Global set-up of the system tests. Tests of a program that cannot be installed are skipped. */
export default function ensurePrograms(): void {
  // Debian's package prometheus contains promtool.
  const missing = installMissing(['chromium', 'docker-compose', 'haproxy', 'nginx', 'prometheus']);
  if (missing.length > 0) process.stderr.write(`Not available, their tests are skipped: ${missing.join(', ')}\n`);
}
