import { createRequire } from 'node:module';
import type { WriteStream } from 'node:tty';
import type { DestinationStream } from 'pino';

type PinoPretty = typeof import('pino-pretty');

/** Fields that `formatMessage` puts first, and those that a developer does not need. */
const IGNORED = 'service,pid,status,method,route,duration_ms';

/**
 * Readable lines where pino-pretty is installed, a development dependency; JSON lines elsewhere. If the terminal closes, the
 * process gets a SIGTERM, so that it shuts down gracefully.
 */
export function terminalDestination(terminal: WriteStream): DestinationStream {
  terminal.once('error', () => process.kill(process.pid, 'SIGTERM'));
  terminal.on('error', () => {}); // Later writes fail too.
  const pretty = loadPinoPretty();
  if (!pretty) return { write: (line) => void terminal.write(line) };
  const format = pretty.prettyFactory({
    colorize: terminal.hasColors(), // false if NO_COLOR is set
    errorLikeObjectKeys: ['err'],
    ignore: IGNORED,
    messageFormat: formatMessage,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return { write: (line) => void terminal.write(format(JSON.parse(line, escapeControls))) };
}

function loadPinoPretty(): PinoPretty | undefined {
  try {
    return createRequire(import.meta.url)('pino-pretty');
  } catch {
    return undefined;
  }
}

/** A request line begins with status, method, route and duration; any other line with its message. */
function formatMessage(fields: Readonly<Record<string, unknown>>, messageKey: string): string {
  const { status, method, route, duration_ms: durationMs } = fields;
  if (status === undefined) return String(fields[messageKey]);
  const duration = durationMs === undefined ? undefined : `${durationMs} ms`;
  return [status, method, route, duration].filter((part) => part !== undefined).join(' ');
}

/** No value can control the terminal. Newlines stay, for stack traces. */
function escapeControls(_key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  return value.replace(/[^\P{C}\n]/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
