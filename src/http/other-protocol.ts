import type { Socket } from 'node:net';

/** Node's parser as a socket holds it, undocumented: where it is not so any more, nothing is found. */
interface SocketWithParser {
  readonly parser?: { getCurrentBuffer?(): Buffer };
}

const OTHER_PROTOCOL = /^[\r\n]*[A-Z_]+ +[^ \r\n]+ +(?:RTSP|ICE)\//;

/**
 * Whether the connection begins with a request of another protocol that Node's parser reads as HTTP, without telling which
 * it was (RFC 9112, section 2.3, has HTTP alone). To be asked while it is parsed; one whose first packet ends within the
 * line is not found out, and is framed and answered as HTTP.
 */
export function isOtherProtocol(socket: Socket): boolean {
  const packet = (socket as SocketWithParser).parser?.getCurrentBuffer?.();
  return packet !== undefined && packet.length === socket.bytesRead && OTHER_PROTOCOL.test(packet.toString('latin1'));
}
