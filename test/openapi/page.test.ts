import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ensureChromium, startChromium } from '../helpers/browser.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';

let embedded: EmbeddedGateway;
let url: string;

beforeAll(async () => {
  embedded = await EmbeddedGateway.start();
  url = embedded.gateway.url;
});
afterAll(() => embedded.stop());

test('/ leads to /docs, which needs no key and may load nothing from elsewhere', async () => {
  const root = await fetch(url, { redirect: 'manual' });
  expect([root.status, root.headers.get('location')]).toEqual([302, '/docs']);
  const page = await fetch(`${url}/docs`);
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  const policy = page.headers.get('content-security-policy');
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
  expect((await fetch(`${url}/docs`, { method: 'POST' })).status).toBe(405);
  expect((await fetch(`${url}/docs/../package.json`)).status).toBe(404);
  expect((await fetch(`${url}/docs/`)).status).toBe(404);
});

test('what the page loads comes compressed to who takes that, each form with an entity tag of its own', async () => {
  const script = `${url}/docs/swagger-ui-bundle.js`;
  const ask = (coding: string, more = {}) => fetch(script, { headers: { 'accept-encoding': coding, ...more } });
  const [plain, small] = [await ask('identity'), await ask('br, gzip')];
  expect([plain.headers.get('content-encoding'), small.headers.get('content-encoding')]).toEqual([null, 'gzip']);
  expect(Number(small.headers.get('content-length'))).toBeLessThan(Number(plain.headers.get('content-length')) / 3);
  expect(await small.text()).toBe(await plain.text());
  const etag = (response: Response) => response.headers.get('etag') ?? '';
  expect(etag(small)).not.toBe(etag(plain));
  for (const response of [plain, small]) {
    expect(response.headers.get('vary')).toContain('Accept-Encoding');
    const coding = response.headers.get('content-encoding') ?? 'identity';
    expect((await ask(coding, { 'if-none-match': etag(response) })).status).toBe(304);
  }
});

test('with DOCS=false there is no page, and the description is there all the same', async () => {
  const own = await EmbeddedGateway.start({ DOCS: 'false' });
  onTestFinished(() => own.stop());
  const statuses = ['/', '/docs', '/docs/page.js', '/openapi.json'].map(
    async (path) => (await fetch(own.gateway.url + path)).status,
  );
  expect(await Promise.all(statuses)).toEqual([404, 404, 404, 200]);
});

const looks = (['light', 'dark'] as const).flatMap((colorScheme) =>
  [1280, 390].map((width) => ({ colorScheme, width })),
);

describe.skipIf(!ensureChromium())('in a browser', () => {
  let browser: Browser;
  let troubles: string[];

  beforeAll(async () => {
    browser = await startChromium();
  });
  afterAll(() => browser?.close());

  /** The page, rendered. What it should never do is gathered in `troubles`. */
  async function open(look: (typeof looks)[number]): Promise<Page> {
    troubles = [];
    const page = await browser.newPage({
      colorScheme: look.colorScheme,
      viewport: { width: look.width, height: 900 },
    });
    onTestFinished(() => page.close());
    page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()));
    page.on('pageerror', (error) => troubles.push(error.message));
    page.on('request', (request) => {
      const asked = request.url();
      if (!asked.startsWith(`${url}/`) && !asked.startsWith('data:')) troubles.push(`a request to ${asked}`);
    });
    await page.goto(`${url}/docs`);
    await page.locator('.responses-table tr[data-code="502"] pre').waitFor();
    return page;
  }

  test.each(looks)('it renders in $colorScheme, $width wide, and axe finds nothing serious', async (look) => {
    const page = await open(look);
    const text = (await page.locator('body').textContent()) ?? '';
    for (const part of [
      '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
      'campaigns:read',
      'account_group_access',
    ]) {
      expect(text.replaceAll('\u200b', '')).toContain(part);
    }
    for (const heading of [
      'Authentication',
      'Rate limits',
      'Caching',
      'Errors',
      'Trace IDs',
      'Parameters',
      'Responses',
    ]) {
      expect(text).toContain(heading);
    }
    expect(text).toContain(`curl -i -H "X-API-Key: $API_KEY" ${url}/v1/accounts/ag_north/campaigns/cmp_1`);
    const isTooWide = 'document.documentElement.scrollWidth > innerWidth';
    expect(await page.evaluate(isTooWide)).toBe(false);
    expect(await seriousFaults(page)).toEqual([]);
    expect(troubles).toEqual([]);
  });

  test('a request can be tried: 401 with a wrong key, 200 with a right one, which is gone with the page', async () => {
    const page = await open({ colorScheme: 'light', width: 1280 });
    const live = page.locator('.live-responses-table .response-col_status').last();
    const button = (name: string) => page.locator('.modal-ux').getByRole('button', { name, exact: true }).first();
    const tryWith = async (key: string) => {
      await page.locator('#api_key_value').fill(key);
      await button('Authorize').click();
      await button('Close').click();
      await page.getByRole('button', { name: 'Execute' }).click();
    };
    await page.locator('.btn.authorize').first().click();
    expect(await seriousFaults(page)).toEqual([]);
    await tryWith('cgw_wrong');
    await expect.poll(() => live.textContent()).toContain('401');
    await page.locator('.btn.authorize').first().click();
    await button('Logout').click();
    await tryWith(embedded.credentials['x-api-key'] ?? '');
    await expect.poll(() => live.textContent()).toContain('200');
    expect(await page.locator('.live-responses-table').textContent()).toContain('"traceId"');
    expect(await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])')).toBe('[{},{},""]');
    expect(troubles.filter((trouble) => !trouble.includes('401'))).toEqual([]);
  });

  test('the keyboard alone opens and closes the operation', async () => {
    const page = await open({ colorScheme: 'dark', width: 1280 });
    const operation = page.locator('.opblock-get .opblock-summary-control');
    await operation.focus();
    expect(await operation.getAttribute('aria-expanded')).toBe('true');
    await page.keyboard.press('Enter');
    await expect.poll(() => operation.getAttribute('aria-expanded')).toBe('false');
  });
});

/** What axe finds that keeps people from using the page. */
async function seriousFaults(page: Page): Promise<unknown[]> {
  await page.evaluate(await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8'));
  const report = (await page.evaluate('axe.run()')) as { violations: { id: string; impact: string }[] };
  return report.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
}
