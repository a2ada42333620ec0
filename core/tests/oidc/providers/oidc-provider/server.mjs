// A certified OpenID provider with two kinds of clients of the gate's, on a port of its own choice.
// Its development pages log in whoever names themselves. It prints its issuer and ends with its
// standard input, so that it never outlives the test.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: randomUUID() };

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const native = {
  application_type: 'native',
  grant_types: ['authorization_code', DEVICE],
  redirect_uris: ['http://127.0.0.1/callback'],
  response_types: ['code'],
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { ...native, client_id: 'mfagate', token_endpoint_auth_method: 'none' },
      { ...native, client_id: 'confidential', client_secret: 'a secret with: odd + letters & more' },
    ],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], auth_time: null, acr: null, amr: null },
    // The claims of a scope go into the ID token, which is all that a gate reads.
    conformIdTokenClaims: false,
    cookies: { keys: [randomUUID()] },
    features: {
      claimsParameter: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
    },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: `${sub}@example.com`, email_verified: true }),
    }),
    jwks: { keys: [key] },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
