import { type Browser, chromium } from 'playwright-core';

export function startChromium(): Promise<Browser> {
  // Containers rarely allow the sandbox, and the only site visited is the gateway under test.
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
}
