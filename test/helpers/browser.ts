import { type Browser, chromium } from 'playwright-core';
import { ensureProgram } from './debian-package.ts';

/** Debian's Chromium. */
export function ensureChromium(): boolean {
  const isThere = ensureProgram('chromium', 'chromium');
  if (!isThere) process.stderr.write('chromium cannot be had: the tests that need it are left out.\n');
  return isThere;
}

export function startChromium(): Promise<Browser> {
  // Its sandbox needs what containers rarely allow, and it visits nothing but the gateway under test.
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
}
