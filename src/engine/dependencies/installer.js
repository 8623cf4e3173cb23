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

function npm(folder, options, watch) {
  const always = [
    'install', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev', '--json', '--loglevel=error',
    '--no-update-notifier', '--git=/nonexistent',
    '--cache=/tmp/cache', '--logs-max=0', '--fetch-retries=1', '--fetch-retry-mintimeout=500',
    '--fetch-retry-maxtimeout=2000', '--fetch-timeout=30000',
  ];
  const env = {
    ...process.env, HOME: '/tmp', npm_config_userconfig: '/tmp/npmrc', NODE_OPTIONS: '',
  };
  return new Promise((resolve, reject) => {
    const child = spawn('npm', [...always, ...options],
      { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
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
function judge(lock, blocked) {
  const packages = [];
  for (const [where, entry] of Object.entries(lock.packages)) {
    const wanted = { ...entry.dependencies, ...entry.optionalDependencies };
    for (const [name, spec] of Object.entries(wanted)) {
      if (/[:/]/.test(spec) && !/^npm:/.test(spec)) throw new Refusal('foreign', name + '@' + spec);
    }
    if (where === '') continue;
    const called = where.slice(where.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const name = entry.name || called;
    checkBlocked([called, name], blocked);
    const bundled = entry.inBundle === true;
    if (entry.link || !bundled && !/^https?:\/\//.test(entry.resolved || '')) {
      throw new Refusal('foreign', name);
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
  await npm(folder, order.options, () => measure(folder, order));
  // Nobody has seen it yet, and none of its code has run.
  const packages = judge(
    JSON.parse(fs.readFileSync(folder + '/package-lock.json', 'utf8')), order.blocked);
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

function tidy({ used, keepMs, maxUnusedMs, maxTotalBytes }) {
  if (!isPrepared(process.getuid())) return { tidied: { removed: [], layers: 0, bytes: 0 } };
  const now = Date.now();
  for (const name of used) {
    const at = path.join(ROOT, name);
    if (fs.existsSync(at)) fs.utimesSync(at, new Date(now), new Date(now));
  }
  const layers = [];
  for (const name of fs.readdirSync(ROOT)) {
    const at = path.join(ROOT, name);
    const stat = fs.lstatSync(at, { throwIfNoEntry: false });
    if (!stat) continue;
    const age = now - stat.mtimeMs;
    if (/^[0-9a-f]{64}$/.test(name)) {
      const manifest = manifestOf(at) || { packages: [], bytes: 0 };
      layers.push({ name, at, age, bytes: manifest.bytes });
    } else if ((name.startsWith(UNFINISHED) || name.startsWith(DOOMED)) && age > LEFT_MS) {
      remove(at);
    }
  }
  layers.sort((one, other) => other.age - one.age);
  let bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
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
  return { tidied: { removed, layers: layers.length - removed.length, bytes } };
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
