//! The confinement, seen from inside and from the daemon.

use std::time::Duration;

use dynamic_mcp::domain::failure::FailureKind;

use crate::support::engine::{Fixture, Runs as _, job, kind_of};

#[test]
fn what_code_is_and_may() {
    Fixture::new().check(
        r#"
const status = require('fs').readFileSync('/proc/self/status', 'utf8');
const field = name => RegExp('^' + name + ':(.*)$', 'm').exec(status)[1].trim().split(/\s+/).join();
return ['Uid', 'Gid', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs',
  'Seccomp'].map(field)
=> ["1000,1000,1000,1000","1000,1000,1000,1000",
=> "0000000000000000","0000000000000000","0000000000000000","0000000000000000",
=> "0000000000000000","1","2"]

const {readFileSync} = require('fs');
const {networkInterfaces, hostname} = require('os');
const tunnels = /^(tunl0|sit0|gre|erspan|ip6|ip_vti|ip6tnl)/; // the kernel's, always down
const devices = readFileSync('/proc/net/dev', 'utf8').match(/^ *\w+(?=:)/gm).map(s => s.trim());
return [Object.keys(networkInterfaces()),
  readFileSync('/proc/net/route', 'utf8').trim().split('\n').length,
  devices.filter(name => !tunnels.test(name)), hostname()]
=> [["lo"],1,["lo"],"sandbox"]

const net = require('net');
const connect = (port, host) => new Promise(done => net.connect(port, host)
  .on('error', e => done(e.code)).on('connect', () => done('open')));
return [await connect(80, '192.0.2.1'), await connect(2375, '127.0.0.1'),
  await connect('/var/run/docker.sock'),
  await require('dns').promises.lookup('example.com').catch(e => e.syscall)]
=> ["ENETUNREACH","ECONNREFUSED","ENOENT","getaddrinfo"]

const fs = require('fs');
const write = path => {
  try { fs.writeFileSync(path, 'x'); return 'written'; } catch (e) { return e.code; }
};
return ['/x', '/etc/passwd', '/usr/local/bin/x', '/proc/sys/kernel/core_pattern', '/sys/x',
  '/root/x', '/tmp/x', '/workspace/x', '/dev/x'].map(write)
=> ["EROFS","EROFS","EROFS",…,…,…,"written","written",…]

const fs = require('fs'); const {spawnSync} = require('child_process');
const run = path => {
  fs.writeFileSync(path, '#!/bin/sh\necho ran'); fs.chmodSync(path, 0o4755);
  const ended = spawnSync(path);
  return ended.error ? ended.error.code : ended.stdout.toString();
};
return [run('/tmp/x'), run('/workspace/x')]
=> ["EACCES","EACCES"]

const mounts = Object.fromEntries(require('fs').readFileSync('/proc/mounts', 'utf8').trim()
  .split('\n').map(line => line.split(' ')).map(m => [m[1], m[3].split(',')]));
const wanted = ['noexec', 'nosuid', 'nodev', 'size=65536k', 'size=262144k', 'mode=700', 'uid=1000'];
return [mounts['/'][0], ...['/tmp', '/workspace'].map(path =>
  wanted.filter(option => mounts[path].includes(option)).join())]
=> ["ro","noexec,nosuid,nodev,size=65536k,mode=700,uid=1000",
=> "noexec,nosuid,nodev,size=262144k,mode=700,uid=1000"]

const fs = require('fs');
const processes = fs.readdirSync('/proc').filter(name => /^\d+$/.test(name));
return [processes.length, fs.readFileSync('/proc/1/comm', 'utf8').trim(),
  process.pid !== 1, process.ppid]
=> [2,"docker-init",true,1]

const {execSync} = require('child_process');
const worked = command => {
  try { execSync(command, {stdio: 'pipe'}); return true; } catch { return false; }
};
return ['mount -t tmpfs x /mnt', 'unshare -U true', 'unshare -n true', 'chown 0 /tmp',
  'ping -c 1 127.0.0.1', 'mknod /tmp/n c 1 3', 'su root -c id', 'dmesg', 'reboot -f',
  'kill -9 1 && test ! -d /proc/1', 'hostname x', 'test $(nice -n -5 nice) -lt 0',
  'chroot / true', 'echo -1 > /proc/self/oom_score_adj'].filter(worked)
=> []

const read = path => { // of cgroup v2 or v1
  try { return require('fs').readFileSync('/sys/fs/cgroup/' + path, 'utf8').trim(); } catch {}
};
const memory = read('memory.max') ?? read('memory/memory.limit_in_bytes');
const pids = read('pids.max') ?? read('pids/pids.max');
const swap = read('memory.swap.max') ?? read('memory/memory.memsw.limit_in_bytes') ?? 'none';
return [memory, pids, ['0', '268435456', 'none'].includes(swap)]
=> ["268435456","256",true]

const limits = require('fs').readFileSync('/proc/self/limits', 'utf8');
return ['Max open files', 'Max core file size']
  .map(name => RegExp(name + ' +(\\d+) +(\\d+)').exec(limits).slice(1).join())
=> ["1024,1024","0,0"]

const initial = require('fs').readFileSync('/proc/self/environ', 'utf8').split('\0')
  .filter(Boolean).map(line => line.split('=')[0]);
const harmless = 'HOME HOSTNAME NODE_VERSION PATH PWD SHLVL TMPDIR TZ _'.split(' ');
return initial.filter(name => !harmless.includes(name))
=> []

const usual = ['core', 'fd', 'full', 'mqueue', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr',
  'stdin', 'stdout', 'tty', 'urandom', 'zero', 'console'];
return require('fs').readdirSync('/dev').filter(name => !usual.includes(name))
=> []

return ['/workspace', '/tmp'].map(path => require('fs').readdirSync(path))
=> [[],[]]
"#,
    );
}

/// No run sees what another one wrote, or any sign of it.
#[test]
fn runs_share_nothing() {
    let fixture = Fixture::new();
    let leave = "const fs = require('fs');
        fs.writeFileSync('/tmp/secret', 's'); fs.writeFileSync('/workspace/secret', 's');
        globalThis.secret = 1; return 1";
    assert_eq!(fixture.value(leave), "1");
    let look = "const {existsSync} = require('fs');
        return [existsSync('/tmp/secret'), existsSync('/workspace/secret'), typeof secret]";
    let looks: Vec<_> = (0..4)
        .map(|_| (job(look, "{}"), "[false,false,\"undefined\"]"))
        .collect();
    fixture.check_jobs(&looks);
}

/// The server's own environment and files are out of reach.
#[test]
fn nothing_of_the_server_is_inside() {
    let path = std::env::current_exe().unwrap();
    let args = serde_json::json!({ "exe": path, "cwd": std::env::current_dir().unwrap() });
    let code = "const fs = require('fs');
        return [fs.existsSync(args.exe), fs.existsSync(args.cwd + '/Cargo.toml'),
          JSON.stringify(process.env).includes('DYNAMIC_MCP'),
          fs.readFileSync('/proc/self/environ', 'utf8').includes('DYNAMIC_MCP'),
          fs.readFileSync('/proc/1/environ', 'utf8').includes('DYNAMIC_MCP')]";
    let value = Fixture::new().value_of(&job(code, &args.to_string()));
    assert_eq!(value, "[false,false,false,false,false]");
}

#[test]
fn fork_bombs_end() {
    let fixture = Fixture::new();
    let many = "const {spawn} = require('child_process');
        let failed; const children = [];
        for (let i = 0; i < 400 && !failed; i++) {
          const child = spawn('sleep', ['1000']);
          await new Promise(done => child.once('spawn', done).once('error', e => { failed = e.code; done(); }));
          children.push(child);
        }
        return [failed, children.length < 256 && children.length > 100]";
    assert_eq!(fixture.value(many), "[\"EAGAIN\",true]");
    let bomb = "require('child_process').execSync('bomb() { bomb | bomb & }; bomb; wait; sleep 1000', {stdio: 'ignore'})";
    let mut bomb = job(bomb, "{}");
    bomb.timeout = Duration::from_secs(2);
    let ended = fixture.run(&bomb);
    assert!(
        matches!(
            kind_of(&ended),
            Some(FailureKind::Timeout | FailureKind::Threw)
        ),
        "{ended:?}"
    );
    assert_eq!(
        fixture.value("return 'and the next one runs'"),
        "\"and the next one runs\""
    );
}

/// Docker's init passes signals on.
#[test]
fn code_that_ends_its_container_ends_by_its_signal() {
    Fixture::new().check(
        "
process.kill(1, 'SIGTERM'); await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with SIGTERM before returning
",
    );
}
