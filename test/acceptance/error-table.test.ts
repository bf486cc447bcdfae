import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { errorEnvelope } from '../../src/http/envelope.ts';
import { errorDefinitions, GatewayError, toGatewayError } from '../../src/http/errors.ts';

test('the README lists every error code with its status', async () => {
  const text = await readFile(path.resolve(import.meta.dirname, '../../README.md'), 'utf8');
  const listed = [...text.matchAll(/^\| (\d{3}) \| `([A-Z_]+)` \|/gm)].map(([, status, code]) => [
    code,
    Number(status),
  ]);
  expect(Object.fromEntries(listed)).toEqual(
    Object.fromEntries(Object.entries(errorDefinitions).map(([code, { status }]) => [code, status])),
  );
});

test('any thrown value other than a GatewayError becomes a 500 that reveals no internals', () => {
  for (const thrown of [new TypeError('secret at 10.0.0.7'), 'secret', null, undefined, { code: 'UNAUTHORIZED' }]) {
    const error = toGatewayError(thrown);
    expect([error.status, error.reason]).toEqual([500, 'internal']);
    expect(errorEnvelope(error, 'a'.repeat(32))).not.toMatch(/secret|10\.0/);
  }
  const gatewayError = new GatewayError('NOT_FOUND', 'No such campaign.');
  expect(toGatewayError(gatewayError)).toBe(gatewayError);
});
