import { installMissing } from '../helpers/debian-package.ts';

/** Debian's package prometheus contains promtool. */
const packageByProgram = {
  chromium: 'chromium',
  'docker-compose': 'docker-compose',
  haproxy: 'haproxy',
  nginx: 'nginx',
  prometheus: 'prometheus',
};

/** Global set-up of the system tests. Tests of a program that cannot be installed are skipped. */
export default function ensurePrograms(): void {
  const missing = installMissing(packageByProgram);
  if (missing.length > 0) process.stderr.write(`Not available, their tests are skipped: ${missing.join(', ')}\n`);
}
