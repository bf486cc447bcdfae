import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createLog, writeFields } from '../../src/telemetry/log.ts';

const fields = {
  trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  status: 502,
  duration_ms: 1.25,
  code: undefined,
  cause: 'quotes ", a backslash \\, a newline \n, a control character \u0007, ünicode and \u2028',
};

function collect() {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, destination };
}

/** Two lines that may be written in different milliseconds. */
const withoutTime = (line: string | undefined) => line?.replace(/"time":"\d{4}-\d\d-\d\dT[\d:.]{12}Z"/, '"time":""');

test('a line of writeFields has exactly the form of a line of pino', () => {
  const { lines, destination } = collect();
  const log = createLog({ LOG_LEVEL: 'info' }, destination);
  for (const level of ['info', 'warn', 'error'] as const) {
    log[level](fields, 'request completed');
    writeFields(log, level, fields, 'request completed');
    const [byPino, byUs] = lines.slice(-2).map(withoutTime);
    expect(byUs).toBe(byPino);
    expect(byUs).toMatch(/^\{"level":"\w+","time":"","service":"campaign-gateway","pid":\d+,"trace_id":/);
  }
});

test('writeFields follows changes of the log level', () => {
  const { lines, destination } = collect();
  const log = createLog({ LOG_LEVEL: 'warn' }, destination);
  writeFields(log, 'info', fields, 'dropped');
  log.level = 'info';
  writeFields(log, 'info', fields, 'written');
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['written']);
});

test('writeFields works with a logger that createLog did not make', () => {
  const { lines, destination } = collect();
  writeFields(pino({ base: null }, destination), 'warn', fields, 'request completed');
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ level: 40, status: 502, msg: 'request completed' }]);
});
