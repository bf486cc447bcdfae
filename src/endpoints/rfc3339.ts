import { z } from 'zod';

const TIME = /^[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** A timestamp as defined by RFC 3339, section 5.6, on an existing calendar day. The text is passed through unchanged. */
export const rfc3339Timestamp = z
  .string()
  .refine(isTimestamp, 'must be an RFC 3339 timestamp')
  .meta({ format: 'date-time' });

function isTimestamp(text: string): boolean {
  return z.regexes.date.test(text.slice(0, 10)) && TIME.test(text.slice(10));
}
