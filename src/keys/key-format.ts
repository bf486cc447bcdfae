import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const KEY_PATTERN = /^cgw_([0-9a-z]{16})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})$/;
const KEY_LENGTH = 70;

/** Generates `cgw_ID_SECRETCHECKSUM`: an id of 82 random bits, a secret of 256, and the CRC-32 of both in base 62. */
export function generateKey(): { id: string; key: string } {
  const id = randomString(16, 36).toLowerCase();
  const body = `cgw_${id}_${randomString(43, 62)}`;
  return { id, key: body + checksum(body) };
}

/** Returns the id of a well-formed key, or undefined. The checksum rejects a mistyped key without a lookup. */
export function parseKeyId(key: string): string | undefined {
  const match = key.length === KEY_LENGTH ? KEY_PATTERN.exec(key) : null;
  return match && checksum(key.slice(0, -6)) === match[2] ? match[1] : undefined;
}

function checksum(text: string): string {
  let rest = crc32(text);
  let digits = '';
  for (let i = 0; i < 6; i++) {
    digits = ALPHABET.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** Picks `length` of the first `radix` characters of the alphabet. Bytes above the last multiple of `radix` would be biased. */
function randomString(length: number, radix: number): string {
  const limit = 256 - (256 % radix);
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < limit && text.length < length) text += ALPHABET.charAt(byte % radix);
    }
  }
  return text;
}
