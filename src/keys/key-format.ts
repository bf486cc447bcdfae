import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { computeHashSlot } from '../redis/hash-slot.ts';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const KEY_PATTERN = /^cgw_([0-9a-z]{16})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})$/;

/**
 * Generates `cgw_ID_SECRETCHECKSUM`: an id of 82 random bits, a secret of 256, and the CRC-32 of both in base 62. With `limitId`,
 * the id is in the hash slot of that id, which costs 14 of its bits.
 */
export function generateKey(limitId?: string): { id: string; key: string } {
  const id = generateId(limitId);
  const body = `cgw_${id}_${randomString(43, 62)}`;
  return { id, key: body + checksum(body) };
}

/** Returns the id of a well-formed key, or undefined. The checksum rejects a mistyped key without a lookup. */
export function parseKeyId(key: string): string | undefined {
  const match = KEY_PATTERN.exec(key);
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

/** On average every 16,384th id is in the slot: 30 ms. */
function generateId(limitId: string | undefined): string {
  const prefix = randomString(12, 36).toLowerCase();
  for (;;) {
    const id = prefix + randomString(4, 36).toLowerCase();
    if (limitId === undefined || computeHashSlot(id) === computeHashSlot(limitId)) return id;
  }
}

function randomString(length: number, radix: number): string {
  return Array.from({ length }, () => ALPHABET.charAt(randomInt(radix))).join('');
}
