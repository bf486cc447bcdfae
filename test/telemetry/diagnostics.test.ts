import { diag } from '@opentelemetry/api';
import { expect, onTestFinished, test } from 'vitest';
import { logDiagnostics } from '../../src/telemetry/diagnostics.ts';
import { createLog } from '../../src/telemetry/log.ts';

test('a diagnostic that differs only in its numbers is logged once a minute', () => {
  onTestFinished(() => diag.disable());
  const lines: string[] = [];
  let now = 0;
  logDiagnostics(createLog({ LOG_LEVEL: 'info' }, { write: (line) => void lines.push(line) }), () => now);
  diag.warn('Dropped 3 spans');
  diag.warn('Dropped 40 spans');
  diag.error('export failed', new Error('socket hang up'));
  diag.info('not a problem');
  now = 60_000;
  diag.warn('Dropped 5 spans');
  expect(lines.map((line) => JSON.parse(line)).map(({ level, cause }) => [level, cause])).toEqual([
    ['warn', 'Dropped 3 spans'],
    ['error', 'export failed Error: socket hang up'],
    ['warn', 'Dropped 5 spans'],
  ]);
});
