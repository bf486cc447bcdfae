import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as x509 from '@peculiar/x509';
import { createFolder } from './folder.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

export type Certificates = Awaited<ReturnType<typeof makeCertificates>>;

/**
 * A test certificate authority with a valid server, an expired server and a client certificate, all for localhost. `files`:
 * paths of PEM files of the authority, and of the client's certificate and key.
 */
export async function makeCertificates() {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto);
  const caKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Test authority',
    keys: caKeys,
    signingAlgorithm: algorithm,
    ...validFor(1),
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign),
    ],
  });

  async function issue(days: number) {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.create({
      subject: 'CN=localhost',
      issuer: ca.subject,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: algorithm,
      ...validFor(days),
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }])],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') };
  }

  const [server, expired, client] = await Promise.all([issue(1), issue(-1), issue(1)]);
  const folder = createFolder();
  const write = async (name: string, text: string) => {
    const file = path.join(folder, name);
    await writeFile(file, text);
    return file;
  };
  const files = {
    ca: await write('ca.pem', ca.toString('pem')),
    cert: await write('cert.pem', client.cert),
    key: await write('key.pem', client.key),
  };
  return { ca: ca.toString('pem'), server, expired, files };
}

/** Valid from two days ago until `days` from now. */
function validFor(days: number) {
  return { notBefore: new Date(Date.now() - 2 * DAY_MS), notAfter: new Date(Date.now() + days * DAY_MS) };
}
