import { type Browser, chromium } from 'playwright-core';
import { ensureProgram } from './debian-package.ts';

/** Installs Debian's Chromium where it is missing. Returns whether it is available. */
export function ensureChromium(): boolean {
  const isInstalled = ensureProgram('chromium', 'chromium');
  if (!isInstalled) process.stderr.write('Chromium is not available: tests that need it are skipped.\n');
  return isInstalled;
}

export function startChromium(): Promise<Browser> {
  // Containers rarely allow the sandbox, and the only site visited is the gateway under test.
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
}
