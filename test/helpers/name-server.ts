import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** Response, recursion desired and available, no error. */
const FLAGS = 0x8180;
const TYPE_A = 1;

/** A name server that resolves one host to IPv4 addresses and every other name to no address. */
export async function startNameServer(host: string, addresses: readonly string[]) {
  const name = Buffer.concat([...host.split('.').map(label), Buffer.of(0)]);
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const isHost = question.equals(Buffer.concat([name, Buffer.of(0, TYPE_A, 0, 1)]));
    const records = isHost ? addresses.map(addressRecord) : [];
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(FLAGS, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    socket.send(Buffer.concat([head, question, ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return { address: `127.0.0.1:${socket.address().port}`, stop: () => socket.close() };
}

function label(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

/** An A record for the name in the question, with a TTL of one second. */
function addressRecord(address: string): Buffer {
  return Buffer.from([0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 1, 0, 4, ...address.split('.').map(Number)]);
}
