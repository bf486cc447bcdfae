import fc from 'fast-check';
import { expect, test } from 'vitest';
import { verifyHash } from '../../src/keys/api-key.ts';
import { generateKey, parseKeyId } from '../../src/keys/key-format.ts';
import { computeHashSlot } from '../../src/redis/hash-slot.ts';
import { makeKey } from '../helpers/keys.ts';

test('a generated key has the documented format and contains its id', () => {
  for (let i = 0; i < 200; i++) {
    const { id, key } = generateKey();
    expect(key).toMatch(/^cgw_[0-9a-z]{16}_[0-9A-Za-z]{49}$/);
    expect(parseKeyId(key)).toBe(id);
  }
});

test('the hash slot is that of the Redis Cluster specification, and a successor has the slot of its limit id', () => {
  expect(computeHashSlot('123456789')).toBe(0x31c3);
  const { id: limitId } = generateKey();
  const { id, key } = generateKey(limitId);
  expect([parseKeyId(key), computeHashSlot(id)]).toEqual([id, computeHashSlot(limitId)]);
  expect(id).not.toBe(limitId);
});

test('neither other text nor a key with one mistyped character has an id', () => {
  const { key } = generateKey();
  const anyMistype = fc
    .tuple(fc.nat({ max: key.length - 1 }), fc.string({ minLength: 1, maxLength: 1 }))
    .map(([at, letter]) => key.slice(0, at) + letter + key.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 100 }), anyMistype), (text) => {
      fc.pre(text !== key);
      expect(parseKeyId(text)).toBeUndefined();
    }),
    { numRuns: 300 },
  );
});

test('a key matches the hash in its own record and in no other', () => {
  const [own, other] = [makeKey(), makeKey()];
  expect(verifyHash(own.key, own.record)).toBe(true);
  expect(verifyHash(own.key, other.record)).toBe(false);
});
