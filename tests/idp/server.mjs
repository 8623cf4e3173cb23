// A real OpenID provider on a loopback port for the tests of authentication.
//
//   node server.mjs [KEY.pem CERT.pem]     over TLS with these
//
// Prints {"issuer": …}, then answers each line of JSON on its standard input with one on its
// standard output, and ends with its input:
//
//   {"do": "token", "client": "alice", "scope": "a b", "resource": "https://…", "alg": "RS256"}
//            a client of that name asks the token endpoint; {"token": …}
//   {"do": "sign", "header": {…}, "claims": {…}}
//            a token of these, signed by its RSA key with RS256, whatever they say; {"token": …}
//   {"do": "keys"}     the JWK Set as it is published
//   {"do": "rotate"}   new keys from now on, the old ones are gone
//   {"do": "down"}     nobody listens any more
//   {"do": "up"}       again, at the same port

import { createPrivateKey, generateKeyPairSync, randomUUID, sign as signed } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import readline from 'node:readline';
import Provider from 'oidc-provider';

// Standard output is for answers alone.
console.info = console.error;
console.log = console.error;

const [keyFile, certFile] = process.argv.slice(2);
const tls = keyFile && { key: readFileSync(keyFile), cert: readFileSync(certFile) };
const web = tls ? https : http;
const clients = ['alice', 'bob'];
let algorithm = 'RS256';
let provider;
let rsaKey;

function newKeys() {
  const pairs = [
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('ed25519'),
  ];
  return pairs.map(({ privateKey }) => ({
    ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig',
  }));
}

function newProvider(issuer) {
  const keys = newKeys();
  [rsaKey] = keys;
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: clients.map((client_id) => ({
      client_id,
      client_secret: `secret of ${client_id}`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
    })),
    ttl: { ClientCredentials: 600 },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          audience: resource,
          scope: 'mcp.use mcp.more mcp.admin',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
}

async function ask(path, options, body) {
  const request = web.request(`${issuer}${path}`, {
    ...options, rejectUnauthorized: false, agent: false,
  });
  request.end(body);
  const [response] = await once(request, 'response');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return JSON.parse(text);
}

async function token({ client, scope, resource, alg = 'RS256' }) {
  algorithm = alg;
  const form = {
    grant_type: 'client_credentials', client_id: client, client_secret: `secret of ${client}`,
    resource, ...(scope && { scope }),
  };
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await ask('/token', { method: 'POST', headers }, `${new URLSearchParams(form)}`);
  if (!answer.access_token) throw new Error(JSON.stringify(answer));
  return { token: answer.access_token };
}

async function sign({ header, claims }) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg: 'RS256', kid: rsaKey.kid, ...header })}.${encode(claims)}`;
  const key = createPrivateKey({ key: rsaKey, format: 'jwk' });
  return { token: `${text}.${signed('sha256', Buffer.from(text), key).toString('base64url')}` };
}

async function listen(port) {
  const listener = web.createServer(tls || {}, (request, response) => {
    provider.callback()(request, response);
  });
  listener.listen(port, '127.0.0.1');
  await once(listener, 'listening');
  return listener;
}

let listener = await listen(0);
const { port } = listener.address();
const issuer = `http${tls ? 's' : ''}://127.0.0.1:${port}`;
newProvider(issuer);

const acts = {
  token,
  sign,
  keys: () => ask('/jwks', {}),
  rotate: async () => { newProvider(issuer); return {}; },
  down: async () => {
    listener.closeAllConnections();
    await new Promise((done) => { listener.close(done); });
    return {};
  },
  up: async () => { listener = await listen(port); return {}; },
};
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ issuer, jwks: `${issuer}/jwks` });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  say(await acts[command.do](command).catch((error) => ({ error: String(error) })));
}
process.exit(0);
