import { isIP } from 'node:net';

/** PEM texts. Without `ca`, the certificate authorities of Node.js are trusted. */
export interface TlsMaterial {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Node.js sends a server name (SNI, RFC 6066, section 3) only if it is an option. An IP address is not a server name. */
export function tlsOptions(material: TlsMaterial, host: string): TlsMaterial & { servername?: string } {
  return isIP(host) ? material : { ...material, servername: host };
}
