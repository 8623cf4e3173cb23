// The first program of a sandbox. It ends, and the sandbox with it, once nobody has used the sandbox
// for the seconds that are its argument. Orders come as lines on stdin, from whichever server serves
// the sandbox: `NONCE hold MILLISECONDS` asks for the one place to run things in, for that long at
// most; `NONCE free` gives it back; `NONCE tell` only asks. A line of JSON with the nonce answers.
'use strict';
const fs = require('fs');
const idle = Number(process.argv[1]) * 1000;
const now = () => performance.now();
let holder = '';
let heldUntil = 0;
let used = now();
let timer;

function arm() {
  clearTimeout(timer);
  const left = Math.max(used, heldUntil) + idle - now();
  if (left <= 0) process.exit(0);
  timer = setTimeout(arm, left + 1);
}

// Processes that the kernel has killed for memory: cgroup version 2, then version 1.
function memoryKills() {
  for (const file of ['memory.events', 'memory/memory.oom_control']) {
    try {
      const found = /^oom_kill (\d+)$/m.exec(fs.readFileSync('/sys/fs/cgroup/' + file, 'utf8'));
      if (found) return Number(found[1]);
    } catch {}
  }
  return 0;
}

function obey([nonce, order, millis]) {
  const isFree = now() >= heldUntil || holder === nonce;
  if (order === 'hold' && isFree) {
    holder = nonce;
    used = now();
    heldUntil = used + Number(millis);
  }
  if (order === 'free' && holder === nonce) {
    used = Math.min(now(), heldUntil);
    heldUntil = 0;
    holder = '';
  }
  const isHeld = now() < heldUntil;
  const idleMs = isHeld ? 0 : Math.round(now() - Math.max(used, heldUntil));
  const answer = { to: nonce, held: isHeld && holder === nonce, idleMs, memoryKills: memoryKills() };
  process.stdout.write(JSON.stringify(answer) + '\n');
  arm();
}

let rest = '';
process.stdout.on('error', () => {});
process.stdin.on('error', () => {});
process.stdin.setEncoding('utf8');
process.stdin.on('data', text => {
  const lines = (rest + text).split('\n');
  rest = lines.pop().slice(-4096);
  for (const line of lines) obey(line.split(' '));
});
process.stdout.write(JSON.stringify({ ready: { node: process.versions.node } }) + '\n');
arm();
