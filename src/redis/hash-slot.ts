const SLOTS = 16_384;

/** The slot of a hash tag in a Redis Cluster: CRC-16/XMODEM (Redis Cluster specification, "Key distribution model"). */
export function computeHashSlot(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc % SLOTS;
}
