// A package registry for one test: `node serve.js PROGRAM DIR ADDRESS`. Serves DIR/storage with
// verdaccio from PROGRAM/node_modules on a free port of ADDRESS, without any registry behind it; whatever starts
// with @guarded/ only to who has the token in DIR/token. Publishes every folder of DIR/sources that
// is not published yet with npm, then prints the port. Every request becomes a line of DIR/requests.
// Ends when stdin does.
'use strict';
const { execFile } = require('child_process');
const fs = require('fs');
const http = require('http');
const path = require('path');

const [program, dir, host] = process.argv.slice(2);
const { runServer } = require(path.join(program, 'node_modules/verdaccio'));

const config = {
  storage: path.join(dir, 'storage'),
  self_path: dir,
  auth: { htpasswd: { file: path.join(dir, 'htpasswd') } },
  packages: {
    '@guarded/*': { access: '$authenticated', publish: '$authenticated' },
    '**': { access: '$all', publish: '$authenticated' },
  },
  log: { type: 'stdout', format: 'pretty', level: 'fatal' },
  web: { enable: false },
};

function login(url) {
  const user = { name: 'tester', password: 'tester-password', type: 'user' };
  return new Promise((resolve, reject) => {
    const request = http.request(url + '/-/user/org.couchdb.user:tester',
      { method: 'PUT', headers: { 'Content-Type': 'application/json' } },
      response => {
        let body = '';
        response.on('data', chunk => { body += chunk; });
        response.on('end', () => resolve(JSON.parse(body).token));
      });
    request.on('error', reject);
    request.end(JSON.stringify(user));
  });
}

function publish(folder, url, rc) {
  return new Promise((resolve, reject) => {
    const args = ['publish', '--ignore-scripts', '--registry=' + url, '--userconfig=' + rc,
      '--cache=' + path.join(dir, 'cache'), '--loglevel=error'];
    execFile('npm', args, { cwd: folder }, (error, stdout, stderr) => {
      if (error) reject(new Error(stdout + stderr)); else resolve();
    });
  });
}

async function main() {
  const server = await runServer(config);
  server.on('request', request => {
    fs.appendFileSync(path.join(dir, 'requests'), request.method + ' ' + request.url + '\n');
  });
  await new Promise(resolve => server.listen(0, host, resolve));
  const { port } = server.address();
  const url = 'http://' + host + ':' + port;
  if (!fs.existsSync(path.join(dir, 'token'))) fs.writeFileSync(path.join(dir, 'token'), await login(url));
  const token = fs.readFileSync(path.join(dir, 'token'), 'utf8');
  const rc = path.join(dir, 'npmrc');
  fs.writeFileSync(rc, '//' + host + ':' + port + '/:_authToken=' + token + '\n');
  const sources = path.join(dir, 'sources');
  for (const name of fs.readdirSync(sources)) {
    const folder = path.join(sources, name);
    if (fs.existsSync(path.join(folder, '.published'))) continue;
    await publish(folder, url, rc);
    fs.writeFileSync(path.join(folder, '.published'), '');
  }
  console.log(port);
}

process.stdin.on('end', () => process.exit(0)).resume();
main().catch(error => {
  console.error(error);
  process.exit(1);
});
