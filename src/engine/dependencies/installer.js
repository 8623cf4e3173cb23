// The program inside installer containers, the only ones that may write to the volume of layers.
// It receives one order as a JSON line on fd 4, obeys it, answers with one JSON line on fd 3, and
// ends; it also ends when the server does. It runs npm, and never a package's code.
'use strict';
const fs = require('fs');
const path = require('path');
const { spawn, spawnSync } = require('child_process');

const ROOT = '/layers';
const UNFINISHED = '.unfinished-';
const DOOMED = '.doomed-';
// Longer than any installation: what is older was left by one that was killed.
const LEFT_MS = 3600 * 1000;
const MAX_NPM_OUTPUT = 1 << 20;

class Refusal extends Error {
  constructor(reason, detail) {
    super(detail);
    this.reason = reason;
  }
}

// ---- the volume ------------------------------------------------------------------------------

function isPrepared(uid) {
  const root = fs.statSync(ROOT);
  return root.uid === uid && (root.mode & 0o777) === 0o711;
}

// As root without any right but that of giving files away. Nobody but the installer's user may list
// the folder, and tools are never that user.
function prepare({ uid }) {
  if (!isPrepared(uid)) {
    fs.chmodSync(ROOT, 0o711);
    fs.chownSync(ROOT, uid, uid);
  }
  return { prepared: true };
}

function manifestOf(layer) {
  try {
    return JSON.parse(fs.readFileSync(path.join(layer, 'layer.json'), 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function remove(folder) {
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

// ---- npm -------------------------------------------------------------------------------------

// npm's own words on why it failed, and the code behind them.
function complaint(stdout, stderr) {
  try {
    const { error } = JSON.parse(stdout);
    return { code: String(error.code || ''), text: String(error.summary || error.detail || '') };
  } catch {
    return { code: '', text: stderr.trim().split('\n').slice(-5).join(' ') };
  }
}

const UNREACHABLE = /^(ENOTFOUND|ECONN|ETIMEDOUT|EAI_|ENETUNREACH|EHOSTUNREACH|EPIPE|ERR_SOCKET|EIDLETIMEOUT|ERR_INVALID_PROTOCOL|E5)/;
const CERTIFICATE = /^(UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|CERT_|ERR_TLS|ERR_SSL|EPROTO)/;

function reasonOf({ code, text }) {
  if (CERTIFICATE.test(code)) return 'certificate';
  if (UNREACHABLE.test(code)) return 'unreachable';
  if (['E401', 'E403', 'ENEEDAUTH', 'EOTP'].includes(code)) return 'unauthorized';
  if (['E404', 'ETARGET', 'ENOVERSIONS', 'EINVALIDTAGNAME'].includes(code)) return 'absent';
  if (code === 'ERESOLVE') return 'conflict';
  if (code === 'EINTEGRITY' || code.startsWith('TAR_') || code.startsWith('Z_')) return 'integrity';
  if (code === 'ENOSPC' || code === 'EDQUOT' || /ENOSPC/.test(text)) return 'too_large';
  return 'failed';
}

// Where packages may come from: the registries that npm is configured with, whoever configured them.
// What npm's own registry says of itself is fetched from the configured one.
function origins(options) {
  const asked = spawnSync('npm', ['config', 'ls', '--long', '--json', ...options],
    { env: npmEnvironment(), encoding: 'utf8', timeout: 30000, maxBuffer: MAX_NPM_OUTPUT });
  if (asked.error && asked.error.code === 'ENOENT') throw new Refusal('no_npm', 'npm is not there');
  const settings = Object.entries(JSON.parse(asked.stdout));
  const registries = settings.filter(([name]) => name === 'registry' || name.endsWith(':registry'));
  const found = new Set(registries.map(([, url]) => new URL(url).origin));
  return url => found.has(url.origin) || /^registry\.npmjs\.org$/.test(url.hostname);
}

function npmEnvironment() {
  return { ...process.env, HOME: '/tmp', npm_config_userconfig: '/tmp/npmrc', NODE_OPTIONS: '' };
}

function npm(folder, options, watch) {
  const always = [
    'install', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev', '--json', '--loglevel=error',
    '--no-update-notifier', '--git=/nonexistent',
    '--cache=/tmp/cache', '--logs-max=0', '--fetch-retries=1', '--fetch-retry-mintimeout=500',
    '--fetch-retry-maxtimeout=2000', '--fetch-timeout=30000',
  ];
  return new Promise((resolve, reject) => {
    const child = spawn('npm', [...always, ...options],
      { cwd: folder, env: npmEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    const heard = ['', ''];
    [child.stdout, child.stderr].forEach((stream, index) => stream.on('data', chunk => {
      if (heard[index].length < MAX_NPM_OUTPUT) heard[index] += chunk;
    }));
    const stop = reason => {
      reject(reason);
      child.kill('SIGKILL');
    };
    const timer = setInterval(() => {
      try { watch(); } catch (refusal) { stop(refusal); }
    }, 1000);
    child.on('error', error => {
      clearInterval(timer);
      reject(error.code === 'ENOENT' ? new Refusal('no_npm', 'npm is not there') : error);
    });
    child.on('close', code => {
      clearInterval(timer);
      if (code === 0) return resolve();
      const said = complaint(...heard);
      reject(new Refusal(reasonOf(said), said.code + ' ' + said.text));
    });
  });
}

// ---- judging what was resolved ---------------------------------------------------------------

// Names that are blocked anywhere in the tree, whatever they are called there.
function checkBlocked(names, blocked) {
  const found = names.find(name => blocked.includes(name));
  if (found !== undefined) throw new Refusal('blocked', found);
}

// Every package comes from a registry with a digest of its content; nothing comes from elsewhere.
function judge(lock, blocked, isKnown) {
  const packages = [];
  for (const [where, entry] of Object.entries(lock.packages)) {
    const wanted = {
      ...entry.dependencies, ...entry.optionalDependencies, ...entry.peerDependencies,
    };
    for (const [name, spec] of Object.entries(wanted)) {
      if (/[:/]/.test(spec) && !/^npm:/.test(spec)) throw new Refusal('foreign', name + '@' + spec);
    }
    if (where === '') continue;
    const called = where.slice(where.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const name = entry.name || called;
    checkBlocked([called, name], blocked);
    const bundled = entry.inBundle === true;
    if (entry.link || !bundled && !URL.canParse(entry.resolved)) throw new Refusal('foreign', name);
    if (!bundled) {
      const from = new URL(entry.resolved);
      if (!isKnown(from)) throw new Refusal('foreign', name + ' of ' + from.origin);
    }
    if (!bundled && !entry.integrity) throw new Refusal('integrity', name + ' has no digest');
    packages.push([name, String(entry.version)]);
  }
  return packages;
}

// ---- one layer -------------------------------------------------------------------------------

// Bytes and files below a folder, bounded; each entry goes to `visit`.
function measure(folder, { maxBytes, maxFiles }, visit = () => {}) {
  let bytes = 0;
  let files = 0;
  const folders = [folder];
  while (folders.length > 0) {
    const inside = folders.pop();
    let entries;
    try { entries = fs.readdirSync(inside); } catch (error) {
      if (error.code === 'ENOENT') continue;
      throw error;
    }
    for (const entry of entries) {
      const at = path.join(inside, entry);
      const stat = fs.lstatSync(at, { throwIfNoEntry: false });
      if (!stat) continue;
      files += 1;
      bytes += stat.size;
      if (bytes > maxBytes || files > maxFiles) {
        throw new Refusal('too_large', 'more than ' + maxBytes + ' bytes or ' + maxFiles + ' files');
      }
      if (stat.isDirectory()) folders.push(at);
      visit(at, stat);
    }
  }
  return { bytes, files };
}

// Everybody reads, nobody writes; no set-user-id; links lead to places within.
function settle(folder) {
  return (at, stat) => {
    if (stat.isSymbolicLink()) {
      const target = path.resolve(path.dirname(at), fs.readlinkSync(at));
      if (!target.startsWith(folder + '/')) fs.unlinkSync(at);
    } else if (stat.isDirectory()) {
      fs.chmodSync(at, 0o755);
    } else if (stat.isFile()) {
      fs.chmodSync(at, stat.mode & 0o111 ? 0o755 : 0o644);
    } else {
      fs.unlinkSync(at);
    }
  };
}

async function fill(folder, order) {
  const dependencies = { __proto__: null };
  for (const { name, version } of order.packages) dependencies[name] = version;
  fs.writeFileSync(folder + '/package.json', JSON.stringify({ private: true, dependencies }));
  const isKnown = origins(order.options);
  await npm(folder, order.options, () => measure(folder, order));
  // Nobody has seen it yet, and none of its code has run.
  const packages = judge(
    JSON.parse(fs.readFileSync(folder + '/package-lock.json', 'utf8')), order.blocked, isKnown);
  fs.rmSync(folder + '/package-lock.json');
  fs.rmSync(folder + '/node_modules/.package-lock.json', { force: true });
  const size = measure(folder, order, settle(folder));
  fs.writeFileSync(folder + '/layer.json', JSON.stringify({ packages, ...size }));
  return { packages: packages.length, ...size };
}

// Onto the disk before it has its name: a crash must not leave half a layer under it.
function publish(folder, target) {
  spawnSync('sync', ['-f', folder], { stdio: 'ignore', timeout: 20000 });
  fs.chmodSync(folder, 0o755);
  try {
    fs.renameSync(folder, target);
  } catch (error) {
    // Another server was faster, with the same set.
    if (!['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  }
}

async function install(order) {
  if (!isPrepared(process.getuid())) return { unprepared: true };
  const target = path.join(ROOT, order.layer);
  const there = manifestOf(target);
  if (there) {
    checkBlocked(there.packages.map(([name]) => name), order.blocked);
    fs.utimesSync(target, new Date(), new Date());
    return { installed: { packages: there.packages.length, bytes: there.bytes, files: there.files } };
  }
  for (const [name, text] of Object.entries(order.files)) {
    fs.writeFileSync('/tmp/' + name, text, { mode: 0o600 });
  }
  const { bytes } = evict(order);
  if (bytes > order.maxTotalBytes) {
    throw new Refusal('full', bytes + ' of ' + order.maxTotalBytes + ' bytes');
  }
  const folder = fs.mkdtempSync(path.join(ROOT, UNFINISHED));
  try {
    const installed = await fill(folder, order);
    publish(folder, target);
    return { installed };
  } finally {
    remove(folder);
  }
}

// ---- upkeep ----------------------------------------------------------------------------------

function tidy(order) {
  if (!isPrepared(process.getuid())) return { tidied: { removed: [], layers: 0, bytes: 0 } };
  const now = new Date();
  for (const name of order.used) {
    const at = path.join(ROOT, name);
    if (fs.existsSync(at)) fs.utimesSync(at, now, now);
  }
  return { tidied: evict(order) };
}

// Removes what is old, and while there is too much also what was not used lately. Of what is being
// installed it is only known that it may become as large as a layer may be.
function evict({ keepMs, maxUnusedMs, maxTotalBytes, maxBytes }) {
  const now = Date.now();
  const layers = [];
  let bytes = 0;
  for (const name of fs.readdirSync(ROOT)) {
    const at = path.join(ROOT, name);
    const stat = fs.lstatSync(at, { throwIfNoEntry: false });
    if (!stat) continue;
    const age = now - stat.mtimeMs;
    if (/^[0-9a-f]{64}$/.test(name)) {
      const manifest = manifestOf(at) || { packages: [], bytes: 0 };
      layers.push({ name, at, age, bytes: manifest.bytes });
      bytes += manifest.bytes;
    } else if (name.startsWith(UNFINISHED) || name.startsWith(DOOMED)) {
      if (age > LEFT_MS) remove(at); else bytes += maxBytes;
    }
  }
  layers.sort((one, other) => other.age - one.age);
  const removed = [];
  for (const layer of layers) {
    const crowded = bytes > maxTotalBytes && layer.age >= keepMs;
    if (layer.age <= maxUnusedMs && !crowded) continue;
    // Under its own name it is whole or gone.
    const doomed = path.join(ROOT, DOOMED + layer.name);
    fs.renameSync(layer.at, doomed);
    remove(doomed);
    bytes -= layer.bytes;
    removed.push(layer.name);
  }
  return { removed, layers: layers.length - removed.length, bytes };
}

// ---- start -----------------------------------------------------------------------------------

const ACTS = { prepare, install, tidy };

async function obey(order) {
  const [act] = Object.keys(order);
  try {
    return await ACTS[act](order[act]);
  } catch (error) {
    const { reason = 'failed' } = error;
    return { refused: { reason, detail: String(error.message).slice(0, 4000) } };
  }
}

function end(code) {
  // Its children end with the first process of the container.
  process.exit(code);
}

process.umask(0o022);
const socket = new (require('net').Socket)({ fd: 4, readable: true, writable: false });
const chunks = [];
let begun = false;
socket.on('data', chunk => {
  if (begun) return;
  chunks.push(chunk);
  if (!chunk.includes(10)) return;
  begun = true;
  obey(JSON.parse(Buffer.concat(chunks).toString())).then(answer => {
    fs.writeSync(3, JSON.stringify(answer) + '\n');
    end(0);
  });
});
for (const event of ['end', 'close', 'error']) socket.on(event, () => end(1));
