import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { type LogLevel, logLevelSchema } from '../telemetry/log-level.ts';

const MAX_BYTES = 256;

const bodySchema = z.strictObject({ level: logLevelSchema });

/** Parses a body such as `debug` or `{"level":"debug"}`; undefined if it holds no log level. */
export async function parseLogLevelBody(request: IncomingMessage): Promise<LogLevel | undefined> {
  let text = '';
  for await (const chunk of request.setEncoding('latin1')) {
    text += chunk;
    if (text.length > MAX_BYTES) return undefined;
  }
  return logLevelSchema.safeParse(text.trim()).data ?? bodySchema.safeParse(parseJson(text)).data?.level;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
