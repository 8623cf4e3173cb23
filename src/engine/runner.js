// The program inside every container and jail. It receives one job, runs the author's code, writes
// one result and ends; or it checks code without running it. Frames are one JSON object a line: in on
// fd 4, out on fd 3 behind the job's nonce. Whatever it needs later it takes before the author's code
// can change it.
'use strict';
// One block around all: the author's code is compiled in the global scope and must neither see nor
// overwrite what is declared here.
{
const {
  console,
  AbortController, ArrayBuffer, Atomics, Array, Buffer, Date, Error, Int32Array, JSON, Map, Number,
  Boolean, Object, Promise, SharedArrayBuffer, String, SyntaxError, TypeError, process,
  setImmediate,
} = globalThis;
const fs = require('fs');
const vm = require('vm');
const { createRequire } = require('module');
const { format, types: { ...types } } = require('util');
const { Socket } = require('net');
const { Worker } = require('worker_threads');

const AsyncFunction = (async () => {}).constructor;
const { stringify, parse } = JSON;
const { keys } = Object;
const { isArray } = Array;
const { isFinite } = Number;
const { byteLength, from } = Buffer;
const isView = ArrayBuffer.isView;
const toISOString = Date.prototype.toISOString;
const getTime = Date.prototype.getTime;
const toWellFormed = String.prototype.toWellFormed;
const { then } = Promise.prototype;
const writeSync = fs.writeSync;
const reallyExit = process.reallyExit.bind(process);
const call = Function.prototype.call.bind(Function.prototype.call);
const { pid } = process;
const kill = process.kill.bind(process);

const MAX_DEPTH = 128;
const MAX_TEXT = 8192;
const MAX_NOTE_BYTES = 65536;
const NO_ROUTE = ['EAFNOSUPPORT', 'EAI_AGAIN', 'ENETUNREACH', 'ENOTFOUND'];
// How the messages of `console` are told.
const PRINTED = { debug: 'debug', log: 'info', info: 'info', warn: 'warning', error: 'error' };
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

function writeLine(text) {
  let bytes = from(text + '\n');
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(3, bytes));
    } catch (error) {
      if (error.code !== 'EAGAIN') reallyExit(0);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

// Without the work of an orderly exit, which would compete with the result for the processors.
function end() {
  try { kill(pid, 'SIGKILL'); } catch {}
  reallyExit(0);
}

function first(text) {
  return call(toWellFormed, text.length <= MAX_TEXT ? text : text.slice(0, MAX_TEXT) + '…');
}

// ---- compiling -------------------------------------------------------------------------------

// The constructor judges; it alone knows that code like "}); f(); (" is no function body.
function compile(code) {
  const run = new AsyncFunction('args', 'ctx', 'require', code + '\n//# sourceURL=tool.js');
  if (isMereFunction(code)) {
    throw new SyntaxError('this only makes a function, which nobody calls: the code is the body of a '
      + 'function already; write what it does, and "return" its result');
  }
  return run;
}

// As a body it does nothing, and is never what its author meant.
function isMereFunction(code) {
  const start = /^(?:\s|\/\/[^\n]*\n)*(?:async\b\s*)?(?:(function\b)|\(|[\w$]+\s*=>)/.exec(code);
  if (!start) return false;
  const parses = text => {
    try { return Boolean(new vm.Script(text)); } catch { return false; }
  };
  let end = code.length;
  while (end > 0 && /[;\s]/.test(code[end - 1])) end -= 1;
  const alone = code.slice(0, end);
  // No operator takes an arrow function, and no assignment a function; but what is made with one.
  return parses('(' + alone + '\n)') && !parses(start[1] ? '(' + alone + '\n= 0)' : '(!' + alone + '\n)');
}

function compileError(error, code) {
  const found = { message: String(error && error.message) };
  try {
    new vm.Script('(async function anonymous(args,ctx,require\n) {\n' + code + '\n})',
      { filename: 'tool.js' });
  } catch (positioned) {
    const at = /^tool\.js:(\d+)\n(?:.*\n([ \t]*)\^)?/.exec(String(positioned.stack));
    if (at) {
      const lines = code.split(/\r\n|[\n\r\u2028\u2029]/).length;
      const line = Number(at[1]) - 2;
      found.line = Math.min(Math.max(line, 1), lines);
      if (line === found.line) {
        found.message = String(positioned.message);
        if (at[2] !== undefined) found.column = at[2].length + 1;
      } else if (line > lines) {
        found.message = 'the code ends too early: an expression, a bracket or a block is not finished';
      }
    }
  }
  if (/import statement|import\.meta|'export'|'import'/.test(found.message)) {
    found.message += '; the code is a function body: use "await import(…)" and "return"';
  }
  found.message = 'SyntaxError: ' + first(found.message);
  return found;
}

// ---- values to JSON --------------------------------------------------------------------------

class Refusal {
  constructor(kind, message) { this.kind = kind; this.message = message; }
}

function invalid(path, what) {
  const shown = path.length <= 200 ? path : path.slice(0, 200) + '…';
  return new Refusal('invalid_result', shown + ' ' + what);
}

function toJson(root, limit) {
  const parts = [];
  const ancestors = [];
  let bytes = 0;

  function count(more) {
    bytes += more;
    if (bytes > limit) {
      throw new Refusal('output_too_large', 'the result is larger than ' + limit + ' bytes');
    }
  }

  function put(text) {
    count(byteLength(text));
    parts.push(text);
  }

  // Copies of a huge text could fill the memory before its length is looked at.
  function quote(text) {
    count(text.length);
    count(-text.length);
    return stringify(call(toWellFormed, text));
  }

  function primitive(value) {
    switch (typeof value) {
      case 'string': return quote(value);
      case 'number': return isFinite(value) ? stringify(value) : 'null';
      case 'boolean': return value ? 'true' : 'false';
      case 'object': return value === null ? 'null' : undefined;
      default: return undefined;
    }
  }

  function refusedKind(value) {
    if (types.isMap(value) || types.isWeakMap(value)) return 'is a Map: use Object.fromEntries(map)';
    if (types.isSet(value) || types.isWeakSet(value)) return 'is a Set: use [...set]';
    if (types.isPromise(value)) return 'is a Promise: await it';
    if (types.isNativeError(value) || value instanceof Error) return 'is an Error: throw it, or return its message';
    if (isView(value) || types.isAnyArrayBuffer(value)) {
      return 'is binary data: return text, such as buffer.toString("base64")';
    }
    return undefined;
  }

  // Whether a value appears in JSON at all; absent ones are dropped from objects, null in arrays.
  function present(value) {
    return value !== undefined && typeof value !== 'function' && typeof value !== 'symbol';
  }

  // Whatever the author's getters, toJSON methods and proxies throw is told by its path.
  function guard(path, read) {
    try {
      return read();
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw invalid(path, 'could not be read: ' + first(guarded(() => error, 'it threw')));
    }
  }

  const member = (object, key, path) => guard(path, () => converted(object[key]));

  // As JSON.stringify: toJSON is asked once, and what it gives is written as it is.
  function converted(value) {
    if (typeof value !== 'object' || value === null) return value;
    if (types.isDate(value) || refusedKind(value)) return value;
    const { toJSON } = value;
    return typeof toJSON === 'function' ? call(toJSON, value, '') : value;
  }

  const write = (value, path, depth) => guard(path, () => writeValue(value, path, depth));

  function writeValue(value, path, depth) {
    const simple = primitive(value);
    if (simple !== undefined) return put(simple);
    if (typeof value === 'bigint') throw invalid(path, 'is a BigInt: use Number(…) or String(…)');
    if (types.isDate(value)) {
      const valid = isFinite(call(getTime, value));
      return put(valid ? '"' + call(toISOString, value) + '"' : 'null');
    }
    const refused = refusedKind(value);
    if (refused) throw invalid(path, refused);
    if (ancestors.includes(value)) throw invalid(path, 'is circular: it contains itself');
    if (depth >= MAX_DEPTH) throw invalid(path, 'is nested deeper than ' + MAX_DEPTH + ' levels');
    ancestors.push(value);
    if (types.isBoxedPrimitive(value)) write(value.valueOf(), path, depth + 1);
    else if (isArray(value)) writeArray(value, path, depth);
    else writeObject(value, path, depth);
    ancestors.pop();
  }

  function writeArray(array, path, depth) {
    put('[');
    for (let index = 0; index < array.length; index++) {
      if (index > 0) put(',');
      const at = path + '[' + index + ']';
      const item = member(array, index, at);
      if (present(item)) write(item, at, depth + 1); else put('null');
    }
    put(']');
  }

  function writeObject(object, path, depth) {
    put('{');
    let comma = '';
    for (const name of keys(object)) {
      const at = path + '.' + name;
      const item = member(object, name, at);
      if (!present(item)) continue;
      put(comma + quote(name) + ':');
      write(item, at, depth + 1);
      comma = ',';
    }
    put('}');
  }

  const value = guard('$', () => converted(root));
  if (value === undefined) return 'null';
  if (!present(value)) throw invalid('$', 'is a ' + typeof value + ': return a JSON value');
  write(value, '$', 0);
  return parts.join('');
}

// ---- errors ----------------------------------------------------------------------------------

function guarded(read, otherwise) {
  try { return String(read()); } catch { return otherwise; }
}

function isError(value) {
  try { return types.isNativeError(value) || value instanceof Error; } catch { return false; }
}

// What an error such as that of a failed `fetch` does not say itself.
function behind(thrown) {
  const { cause } = thrown;
  const notes = [];
  if (isError(cause)) notes.push('cause: ' + (cause.message || cause.code || cause.name));
  const code = String((isError(cause) ? cause : thrown).code);
  if (NO_ROUTE.includes(code) && !hasNetwork()) notes.push('tools have no network');
  return notes.length > 0 ? ' (' + notes.join('; ') + ')' : '';
}

function hasNetwork() {
  try {
    const all = requireHere('os').networkInterfaces();
    return keys(all).some(name => all[name].some(address => !address.internal));
  } catch {
    return false;
  }
}

function describeThrown(thrown) {
  if (!isError(thrown)) {
    return { message: first(guarded(() => thrown, 'a value that has no text')) };
  }
  const message = guarded(() => thrown.message, '');
  const name = guarded(() => thrown.name, 'Error');
  const said = name === 'Error' && message ? message : name + (message ? ': ' + message : '');
  const found = { message: first(said + guarded(() => behind(thrown), '')) };
  const frames = guarded(() => thrown.stack, '').split('\n').filter(line => /^\s+at /.test(line));
  const at = frames.map(line => /[ (]tool\.js:(\d+):(\d+)\)?$/.exec(line)).find(Boolean);
  if (at && Number(at[1]) > 2) {
    found.line = Number(at[1]) - 2;
    found.column = Number(at[2]);
  }
  return found;
}

// ---- one job ---------------------------------------------------------------------------------

class Content {
  constructor(blocks) { this.blocks = blocks; }
}

// In brackets, so that it is compiled at once and not when the job is there.
const runJob = (function (job) {
  const { nonce } = job;
  const asked = new Map();
  let asks = 0;
  let waits = false;
  let finished = false;

  const send = body => { if (!finished) writeLine(nonce + ' ' + body); };
  const finish = body => {
    // On a line of its own, whatever the code may have written to this descriptor.
    if (!finished) writeLine('\n' + nonce + ' {"done":' + body + '}');
    finished = true;
    end();
  };
  const fail = (kind, found) => finish(stringify({
    __proto__: null, kind, message: found.message, line: found.line, column: found.column,
  }));
  const threw = thrown => fail('threw', describeThrown(thrown));
  const ended = code => fail('threw', { message: 'process ended with ' + code + ' before returning' });

  process.reallyExit = code => ended(code === undefined ? 0 : code);
  process.on('uncaughtException', threw);
  process.on('unhandledRejection', threw);
  process.on('beforeExit', () => fail('threw', { message: 'promise never settles' }));

  const note = value => toJson(value, MAX_NOTE_BYTES);
  const said = value => {
    try { return note(value); } catch (refusal) { throw new TypeError(refusal.message); }
  };
  const ask = (kind, key, params) => new Promise((resolve, reject) => {
    if (typeof key !== 'string' || !/^[ -~]{1,64}$/.test(key)) {
      throw new TypeError('the key must be 1 to 64 characters of printable ASCII');
    }
    const body = ',"kind":"' + kind + '","key":' + stringify(key) + ',"params":' + said(params);
    const id = ++asks;
    asked.set(id, { resolve, reject });
    listener.ref();
    send('{"ask":{"id":' + id + body + '}}');
  });
  const ctx = Object.freeze({
    signal: abort.signal,
    content: blocks => {
      if (!isArray(blocks)) throw new TypeError('ctx.content takes an array of MCP content blocks');
      return new Content(blocks);
    },
    progress: (done, total, message) => send('{"progress":' + said({
      done: Number(done),
      total: total == null ? undefined : Number(total),
      message: message == null ? undefined : first(String(message)),
    }) + '}'),
    log: (level, data) => {
      if (!LEVELS.includes(level)) throw new TypeError('the level must be one of ' + LEVELS.join(', '));
      send('{"log":{"level":"' + level + '","data":' + said(data) + '}}');
    },
    elicit: (key, params) => ask('elicit', key, params),
    sample: (key, params) => ask('sample', key, params),
    listRoots: key => ask('listRoots', key),
  });

  for (const name of job.console ? keys(PRINTED) : []) {
    const print = console[name];
    const own = (...values) => {
      print(...values);
      try { ctx.log(PRINTED[name], first(format(...values))); } catch {}
    };
    console[name] = own;
  }

  listener.on('message', line => {
    const frame = parse(line);
    if (frame.abort) abort.abort(new Error('the call was cancelled'));
    const waiting = frame.answer && asked.get(frame.answer.id);
    if (!waiting) return;
    const { id, value, error } = frame.answer;
    asked.delete(id);
    if (error !== undefined) waiting.reject(new Error(error));
    else if (value !== undefined) waiting.resolve(parse(value));
    else waits = true;
    if (asked.size > 0) return;
    listener.unref();
    // Whoever was answered goes on first, and may ask more: all of it is asked at once.
    if (waits) setImmediate(() => { if (asked.size === 0) finish('{"waiting":true}'); });
  });
  listener.unref();

  if (job.layer) {
    const found = fs.existsSync(job.layer + '/layer.json');
    send('{"layer":' + found + '}');
    if (!found) reallyExit(0);
    // `import()` looks for packages from the working directory upwards. In a sandbox an earlier
    // job's link goes; a folder of that name stays, and is an error.
    const link = '/workspace/node_modules';
    try { fs.readlinkSync(link); fs.unlinkSync(link); } catch {}
    fs.symlinkSync(job.layer + '/node_modules', link);
  }

  let run;
  try {
    run = compile(job.code);
  } catch (error) {
    return fail('threw', compileError(error, job.code));
  }
  const succeed = value => {
    try {
      if (value instanceof Content) {
        finish('{"ok":true,"content":' + toJson(value.blocks, job.resultLimit) + '}');
      }
      finish('{"ok":true,"value":' + toJson(value, job.resultLimit) + '}');
    } catch (refusal) {
      if (refusal instanceof Refusal) fail(refusal.kind, refusal); else threw(refusal);
    }
  };
  const require = job.layer ? createRequire(job.layer + '/tool.js') : requireHere;
  const args = job.args === undefined ? {} : parse(job.args);
  call(then, run(args, ctx, require), succeed, threw);
});

// ---- checking --------------------------------------------------------------------------------

function check({ nonce, code }) {
  let found = null;
  try {
    compile(code);
  } catch (error) {
    found = compileError(error, code);
  }
  writeLine(nonce + ' ' + stringify({ checked: { error: found } }));
}

// ---- start -----------------------------------------------------------------------------------

const kept = { PATH: process.env.PATH, HOME: '/workspace', TMPDIR: '/tmp', TZ: 'UTC' };
for (const name of keys(process.env)) if (!(name in kept)) delete process.env[name];
Object.assign(process.env, kept);
for (const name of ['require', 'module', 'exports', '__filename', '__dirname']) delete globalThis[name];

// Printing waits for the reader. Otherwise output piles up in memory, and its end is lost with the
// process, which is just what a failure should show.
for (const { _handle: pipe } of [process.stdout, process.stderr]) {
  if (pipe && pipe.setBlocking) pipe.setBlocking(true);
}

// Passes lines to `take` until one is the last that it wants; that one it gets with what follows.
function splitter(take) {
  let begun = [];
  return chunk => {
    for (let end; (end = chunk.indexOf(10)) >= 0;) {
      const line = Buffer.concat([...begun, chunk.subarray(0, end)]).toString();
      begun = [];
      chunk = chunk.subarray(end + 1);
      if (take(line, chunk)) return;
    }
    if (chunk.length > 0) begun.push(Buffer.from(chunk));
  };
}

// What comes in; as all of it goes to `hear`, pausing leaves the rest to others.
function openInlet(Socket, hear) {
  const gone = () => process.kill(process.pid, 'SIGKILL');
  const callback = (length, buffer) => { hear(buffer.subarray(0, length)); };
  const onread = { buffer: Buffer.alloc(65536), callback };
  const inlet = new Socket({ fd: 4, readable: true, writable: false, onread });
  return inlet.on('end', gone).on('close', gone).on('error', gone);
}

const inlet = openInlet(Socket, splitter((line, rest) => {
  const frame = parse(line);
  if (frame.check) check(frame.check);
  if (!frame.job) return false;
  inlet.pause();
  listener.postMessage(from(rest));
  runJob(frame.job);
  return true;
}));
writeLine(stringify({ ready: { node: process.versions.node } }));

// What follows costs time that nobody waits for, unless the job is there already.

// From the job on, the listener has the way in, on a thread of its own: when the server goes away, so
// does this process, whatever the author's code is doing.
const listener = new Worker(`
  const { parentPort } = require('worker_threads');
  const hear = (${splitter})(line => { parentPort.postMessage(line); });
  const inlet = (${openInlet})(require('net').Socket, hear).pause();
  parentPort.once('message', rest => {
    hear(Buffer.from(rest));
    inlet.resume();
  });
`, { eval: true, stdin: false, env: {}, execArgv: [] });
const abort = new AbortController();
const requireHere = createRequire('/workspace/tool.js');
// First uses are slow, of a regular expression the second, too.
inlet.pause().resume();
for (const code of ['return 1', 'return 2', 'return [3]']) compile(code);
toJson({ a: ['b', 1] }, 64);
}
