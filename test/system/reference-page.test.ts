import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { buildOpenApiDocument } from '../../src/openapi/document.ts';
import type { Reference } from '../../src/openapi/reference.ts';
import { renderPage } from '../../src/openapi/reference-page.ts';
import { isInstalled } from '../helpers/debian-package.ts';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { readOrder } from '../helpers/second-endpoint.ts';

let embedded: EmbeddedGateway;
let url: string;

beforeAll(async () => {
  embedded = await startEmbeddedGateway();
  url = embedded.gateway.url;
});
afterAll(() => embedded.stop());

test('/ redirects to /docs, which needs no key and may load nothing from other hosts', async () => {
  const root = await fetch(url, { redirect: 'manual' });
  expect([root.status, root.headers.get('location'), await root.text()]).toEqual([302, '/docs', '']);
  const page = await fetch(`${url}/docs`);
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  const policy = page.headers.get('content-security-policy');
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|https?:|data:|\*/);
  expect((await fetch(`${url}/docs`, { method: 'POST' })).status).toBe(405);
  expect((await fetch(`${url}/docs/`)).status).toBe(404);
});

test.each(['/docs', '/docs/page.css', '/docs/page.js'])(
  '%s is compressed for clients that accept it, each form with its own entity tag',
  async (path) => {
    const load = (coding: string, more = {}) => fetch(url + path, { headers: { 'accept-encoding': coding, ...more } });
    const responses = [await load('identity'), await load('br, gzip')] as const;
    expect(responses.map(({ headers }) => headers.get('content-encoding'))).toEqual([null, 'gzip']);
    expect(await responses[1].text()).toBe(await responses[0].text());
    const [tag = '', otherTag = ''] = responses.map(({ headers }) => headers.get('etag') ?? '');
    expect(tag).not.toBe(otherTag);
    for (const { headers } of responses) expect(headers.get('vary')).toContain('Accept-Encoding');
    expect((await load('identity', { 'if-none-match': tag })).status).toBe(304);
    expect((await load('gzip', { 'if-none-match': otherTag })).status).toBe(304);
  },
);

test('with DOCS=false there is no page, but the OpenAPI document is served', async () => {
  const own = await startEmbeddedGateway({ DOCS: 'false' });
  onTestFinished(() => own.stop());
  for (const path of ['/', '/docs', '/docs/page.js', '/openapi.json']) {
    expect((await fetch(own.gateway.url + path)).status, path).toBe(path === '/openapi.json' ? 200 : 404);
  }
});

test('a page is rendered from its endpoints alone, with their texts escaped', () => {
  const page = renderPage([readOrder], buildOpenApiDocument([readOrder]) as unknown as Reference);
  for (const part of ['Get an order', 'orders:read', 'Identifier &#60;b&#62;of the order', 'Number of pieces.']) {
    expect(page).toContain(part);
  }
  expect(page.replaceAll('<wbr>', '')).toContain('<code>items.quantity</code></th><td>integer ≥ 1</td>');
  expect(page.replaceAll(/campaign[- ](gateway|service|metadata)/gi, '')).not.toMatch(/campaign/i);
  const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [, target] of page.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(target);
});

describe.skipIf(!isInstalled('chromium'))('in a browser', () => {
  let browser: Browser;
  let problems: string[];

  beforeAll(async () => {
    // Containers rarely allow the sandbox, and the only site visited is the gateway under test.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  });
  afterAll(() => browser?.close());

  /** Opens the page. Errors, and requests to other hosts, are collected in `problems`. */
  async function open(width = 1440, options: BrowserContextOptions = {}): Promise<Page> {
    problems = [];
    const page = await browser.newPage({ viewport: { width, height: 900 }, ...options });
    onTestFinished(() => page.close());
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith(`${url}/`)) problems.push(`a request to ${request.url()}`);
    });
    await page.goto(`${url}/docs`);
    return page;
  }

  async function send(page: Page, key: string): Promise<void> {
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Send' }).click();
  }

  test.each([
    ['light', 390],
    ['dark', 1440],
  ] as const)('in %s, %i pixels wide, nothing overflows and axe finds no fault', async (colorScheme, width) => {
    const page = await open(width, { colorScheme });
    await send(page, embedded.credentials['x-api-key'] ?? '');
    await page.getByText('200 OK').waitFor();
    for (const summary of await page.locator('summary').all()) await summary.click();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    expect(await backgroundIsDark(page)).toBe(colorScheme === 'dark');
    expect(await findFaults(page)).toEqual([]);
    expect(problems).toEqual([]);
  });

  test.each([true, false])('everything is readable without a click (JavaScript: %s)', async (javaScriptEnabled) => {
    const page = await open(390, { javaScriptEnabled });
    const baseUrl = javaScriptEnabled ? url : 'https://gateway.example';
    for (const text of [
      ...[baseUrl, 'Get a single campaign', 'campaigns:read', 'account_group_access', 'autoCancelOnMessageReceived'],
      'Returns bounded public metadata for one campaign without exposing workflow definitions.',
      'Campaign ID that identifies the campaign to read or mutate.',
      'This endpoint does not define a request body.',
      'Upstream service error. The campaign service',
      ...['CampaignSuccessResponse', 'VALIDATION_ERROR', 'Quota returns continuously'],
    ]) {
      expect(await page.getByText(text).filter({ visible: true }).count(), text).toBeGreaterThan(0);
    }
    const fields = page.getByRole('group', { name: 'Fields of Campaign', exact: true }).getByRole('row');
    expect(await fields.count()).toBe(13);
    const code = await page.locator('pre:visible').allTextContents();
    expect(code.join()).toContain(`X-API-Key: $API_KEY" \\\n  ${baseUrl}/v1/accounts/ag_north/campaigns/cmp_1`);
    expect(await page.locator('form').isVisible()).toBe(javaScriptEnabled);
    expect(await page.getByText('This form needs JavaScript.').isVisible()).toBe(!javaScriptEnabled);
  });

  test('a request can be tried with any parameter, and a key is never stored', async () => {
    const page = await open();
    const status = page.getByRole('status');
    await send(page, 'cgw_wrong');
    await expect.poll(() => status.textContent()).toContain('401 Unauthorized');
    await send(page, embedded.credentials['x-api-key'] ?? '');
    await expect.poll(() => status.textContent()).toContain('200 OK');
    const [headers, body] = await page.locator('.result code').allTextContents();
    expect(headers).toContain('ratelimit: "default"');
    expect(body).toContain('"traceId": "');
    expect(await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])')).toBe('[{},{},""]');
    await page.reload();
    expect(await page.getByLabel('API key').inputValue()).toBe('');

    await page.getByLabel('campaignId').fill('a b');
    await send(page, embedded.credentials['x-api-key'] ?? '');
    await expect.poll(() => status.textContent()).toContain('400 Bad Request');
    expect(problems.filter((problem) => !/40[01]/.test(problem))).toEqual([]);
  });

  test('a request without a response is reported', async () => {
    const stopped = await startEmbeddedGateway();
    onTestFinished(() => stopped.stop());
    const page = await open();
    await page.goto(`${stopped.gateway.url}/docs`);
    await stopped.stop();
    await page.getByLabel('API key').press('Enter');
    await expect.poll(() => page.getByRole('status').textContent()).toContain('No response: ');
    expect(await page.locator('.result').isVisible()).toBe(false);
  });

  test('the page can be used with the keyboard alone, and a sample can be copied', async () => {
    const page = await open();
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to content');
    await page.getByRole('checkbox', { name: 'Switch theme' }).press('Space');
    expect(await backgroundIsDark(page)).toBe(true);
    await page.locator('summary').first().press('Enter');
    expect(await page.locator('details').first().getAttribute('open')).toBe('');
    await page.getByRole('radio', { name: 'curl' }).press('ArrowLeft');
    expect(await page.getByText('urllib.request').isVisible()).toBe(true);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.locator('.tabs').getByRole('button', { name: 'Copy' }).press('Enter');
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    expect(await page.evaluate('navigator.clipboard.readText()')).toMatch(/^import .*urllib\.request/s);
  });
});

async function backgroundIsDark(page: Page): Promise<boolean> {
  const color = await page.evaluate('getComputedStyle(document.body).backgroundColor');
  return /^rgb\(\d\d?,/.test(String(color));
}

/** What axe, a checker of WCAG conformance, reports about the page. */
async function findFaults(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8'));
  const report = (await page.evaluate('axe.run()')) as { violations: { id: string; nodes: { html: string }[] }[] };
  return report.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}
