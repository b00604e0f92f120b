// Verifies tokens with jose, and makes some: good ones, and what must never be believed.

import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

globalThis.crypto ??= webcrypto;
const jose = await import('jose');
const told = JSON.parse(readFileSync(0, 'utf8'));

/** What a token says, if it is good; else the code of the error. */
async function verify({ token, secret, jwks, algorithm, issuer, audience }) {
  const key = secret === null ? jose.createRemoteJWKSet(new URL(jwks)) : new TextEncoder().encode(secret);
  const demands = { algorithms: [algorithm], issuer, audience, typ: 'at+jwt', requiredClaims: ['exp', 'iat', 'sub', 'jti'] };
  try {
    const { payload, protectedHeader } = await jose.jwtVerify(token, key, demands);
    return { payload, header: protectedHeader };
  } catch (error) {
    if (error instanceof jose.errors.JOSEError) return error.code;
    throw error;
  }
}

/** A key of each algorithm: what signs, and what verifies. */
async function pairs() {
  const made = {};
  for (const name of ['EdDSA', 'ES256', 'RS256']) made[name] = await jose.generateKeyPair(name, { extractable: true });
  const secret = crypto.getRandomValues(new Uint8Array(32));
  made.HS256 = { privateKey: secret, publicKey: secret };
  return made;
}

const part = (value) => jose.base64url.encode(JSON.stringify(value));

async function make({ issuer, audience }) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, aud: audience, sub: 'user-7', org: 'acme', iat: now, nbf: now, exp: now + 300 };
  const [keys, others] = [await pairs(), await pairs()];
  const token = (changed = {}, header = {}, key = keys[header.alg ?? 'ES256'].privateKey) =>
    new jose.SignJWT({ ...claims, ...changed }).setProtectedHeader({ alg: 'ES256', kid: header.alg ?? 'ES256', ...header }).sign(key);

  const good = {};
  for (const alg of Object.keys(keys)) good[alg] = await token({}, { alg });
  // The newer name of the same (RFC 9864).
  good.Ed25519 = await token({}, { alg: 'Ed25519', kid: 'EdDSA' }, keys.EdDSA.privateKey);
  good['several audiences'] = await token({ aud: ['https://elsewhere.example', audience] });
  good['at+jwt'] = await token({}, { typ: 'at+jwt' });

  const publicKey = new TextEncoder().encode(await jose.exportSPKI(keys.RS256.publicKey));
  const bad = {
    expired: await token({ exp: now - 60 }),
    'not valid yet': await token({ nbf: now + 600 }),
    'another audience': await token({ aud: 'https://elsewhere.example' }),
    'another issuer': await token({ iss: 'https://nobody.example' }),
    'no end': await token({ exp: undefined }),
    'no audience': await token({ aud: undefined }),
    'no user': await token({ sub: undefined }),
    'no tenant': await token({ org: undefined }),
    'a key that nobody knows': await token({}, { kid: 'another' }),
    'the name of another key': await token({}, { kid: 'RS256' }),
    'another type': await token({}, { typ: 'rt+jwt' }),
    'a key that it brings along': await token({}, { jwk: await jose.exportJWK(others.ES256.publicKey) }, others.ES256.privateKey),
    'no signature': new jose.UnsecuredJWT(claims).encode(),
    'the public key as a secret': await token({}, { alg: 'HS256', kid: 'RS256' }, publicKey),
    'the public key as the secret': await token({}, { alg: 'HS256' }, publicKey),
  };
  for (const alg of Object.keys(keys)) {
    const [head, , signature] = good[alg].split('.');
    bad[`${alg}: other claims`] = [head, part({ ...claims, org: 'other' }), signature].join('.');
    bad[`${alg}: another one's key`] = await token({}, { alg }, others[alg].privateKey);
    bad[`${alg}: cut short`] = good[alg].slice(0, -4);
  }
  const jwks = { keys: [] };
  for (const [alg, { publicKey }] of Object.entries(keys)) {
    jwks.keys.push({ ...(await jose.exportJWK(publicKey)), kid: alg, alg, use: 'sig' });
  }
  return { jwks, good, bad };
}

const answer = told.make ? await make(told.make) : await Promise.all(told.verify.map(verify));
process.stdout.write(JSON.stringify(answer));
