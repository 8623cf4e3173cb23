//! Attempts to get out of a jail, each one made for real: by node's own means, and by system calls
//! of an addon that stands for code that has taken node over.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Job, Returned};
use dynamic_mcp::engine::Engine as _;
use libc::{EAFNOSUPPORT, ENOSYS, EPERM, c_int, c_long};
use serde_json::{Value, json};

use crate::support::engine::{Runs as _, job, kind_of, settings};
use crate::support::jail::{Fixture, jail_settings, processes};

/// A folder of one test's own, readable by all.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("jail-test-{}", random_hex()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of the host, and of the same user.
struct Bystander(std::process::Child);

impl Bystander {
    fn start() -> Self {
        let mut sleep = Command::new("sleep");
        let sleep = sleep.arg("1000").stdin(Stdio::null()).stdout(Stdio::null());
        Self(sleep.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node that claims the addon as one of its own files, so that it is inside at the same path.
fn armed(scratch: &Scratch) -> (Fixture, String) {
    let addon = scratch.0.join("raw.node");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/raw_syscall.c");
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&addon)
        .arg(source));
    let mut settings = jail_settings(settings());
    let node = settings.node.take().unwrap();
    let version = run(Command::new(&node).arg("-p").arg("process.versions.node"));
    let binary = run(Command::new(&node).arg("-p").arg("process.execPath"));
    let answer = json!({"version": version.trim(), "binary": binary.trim(), "modules": [addon]});
    let shim = scratch.0.join("node");
    std::fs::write(&shim, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    settings.node = Some(shim);
    (Fixture::with(settings), addon.to_str().unwrap().to_owned())
}

/// Code with `raw(number, …)` at hand.
fn armed_job(code: &str, addon: &str, mut args: Value) -> Job {
    args["addon"] = json!(addon);
    let arm = "const addon = {exports: {}}; process.dlopen(addon, args.addon); const raw = addon.exports;";
    job(&format!("{arm}\n{code}"), &args.to_string())
}

fn value_of(fixture: &Fixture, job: &Job) -> Value {
    serde_json::from_str(&fixture.value_of(job)).unwrap()
}

const CLONE_NEW: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Calls with the arguments of a real attempt and the error that must come of it.
fn leading_out() -> Vec<(&'static str, c_long, Vec<i64>, c_int)> {
    macro_rules! absent {
        ($($name:ident)*) => { vec![$((stringify!($name), libc::$name, vec![], ENOSYS)),*] };
    }
    let mut calls = absent![
        SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen
        SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_unshare SYS_setns SYS_clone3
        SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_kcmp
        SYS_pidfd_open SYS_pidfd_getfd SYS_pidfd_send_signal SYS_keyctl SYS_add_key
        SYS_request_key SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup
        SYS_io_uring_enter SYS_io_uring_register SYS_kexec_load SYS_kexec_file_load SYS_reboot
        SYS_swapon SYS_swapoff SYS_init_module SYS_finit_module SYS_delete_module
        SYS_open_by_handle_at SYS_name_to_handle_at SYS_acct SYS_quotactl SYS_syslog
        SYS_sethostname SYS_setdomainname SYS_settimeofday SYS_clock_settime SYS_clock_adjtime
        SYS_adjtimex SYS_personality SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
        SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capset SYS_mknodat
        SYS_memfd_create SYS_memfd_secret SYS_shmget SYS_shmat SYS_semget SYS_msgget SYS_mq_open
        SYS_fanotify_init SYS_inotify_init1 SYS_execveat SYS_seccomp SYS_vhangup SYS_move_pages
        SYS_mbind SYS_migrate_pages SYS_sched_setaffinity SYS_sched_setscheduler SYS_setpriority
        SYS_ioprio_set SYS_setxattr SYS_openat2 SYS_vmsplice SYS_splice SYS_tee SYS_mlockall
        SYS_lookup_dcookie SYS_nfsservctl SYS_remap_file_pages SYS_set_mempolicy SYS_pkey_alloc
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend::<Vec<_>>(absent![
        SYS_iopl SYS_ioperm SYS_modify_ldt SYS_mknod SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl
    ]);
    for flag in CLONE_NEW {
        let flags = i64::from(flag | libc::SIGCHLD);
        calls.push((
            "clone into a new namespace",
            libc::SYS_clone,
            vec![flags],
            EPERM,
        ));
    }
    let families = (0..46).filter(|family| *family != i64::from(libc::AF_UNIX));
    calls.extend(families.map(|family| {
        let kind = i64::from(libc::SOCK_RAW);
        (
            "socket",
            libc::SYS_socket,
            vec![family, kind, 0],
            EAFNOSUPPORT,
        )
    }));
    calls.push((
        "limits of the first process",
        libc::SYS_prlimit64,
        vec![1, 7],
        EPERM,
    ));
    let terminal = vec![0, 0x5412];
    calls.push(("TIOCSTI", libc::SYS_ioctl, terminal, libc::ENOTTY));
    let dumpable = vec![i64::from(libc::PR_SET_DUMPABLE), 1];
    calls.push(("PR_SET_DUMPABLE", libc::SYS_prctl, dumpable, libc::EINVAL));
    calls
}

#[test]
fn system_calls_that_lead_out_do_not_exist() {
    let scratch = Scratch::new();
    let (fixture, addon) = armed(&scratch);
    let calls = leading_out();
    let asked: Vec<Value> = calls
        .iter()
        .map(|(_, number, arguments, _)| json!([number, arguments]))
        .collect();
    let code = "return args.calls.map(([number, args]) => raw(number, ...args))";
    let got = value_of(
        &fixture,
        &armed_job(code, &addon, json!({ "calls": asked })),
    );
    let differences: Vec<_> = calls
        .iter()
        .zip(got.as_array().unwrap())
        .filter(|((_, _, _, expected), got)| **got != -expected)
        .collect();
    assert!(differences.is_empty(), "{differences:?}");
    // The addon does make system calls.
    let own = armed_job(
        "return raw(args.n) === process.pid",
        &addon,
        json!({"n": libc::SYS_getpid}),
    );
    assert_eq!(fixture.value_of(&own), "true");
}

/// 32-bit entries have other numbers for the same calls: the filter must not be fooled by them.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_x32_spelling_of_a_call_does_not_exist() {
    let scratch = Scratch::new();
    let (fixture, addon) = armed(&scratch);
    let args = json!({"n": 0x4000_0000 + libc::SYS_getpid});
    let job = armed_job("return raw(args.n)", &addon, args);
    assert_eq!(value_of(&fixture, &job), -ENOSYS);
}

#[test]
fn nothing_of_the_host_s_files_is_inside() {
    let scratch = Scratch::new();
    let secret = scratch.0.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let fixture = Fixture::new();
    let code = r"
        const fs = require('fs'), path = require('path');
        const found = [];
        (function walk(folder) {
          for (const entry of fs.readdirSync(folder, {withFileTypes: true})) {
            const at = path.join(folder, entry.name);
            if (at === '/proc') continue;
            if (entry.isDirectory()) walk(at); else found.push(at);
          }
        })('/');
        const reach = [...args.paths, ...args.paths.map(p => '/proc/self/root' + p),
          ...args.paths.map(p => '/proc/self/cwd/../..' + p), ...args.paths.map(p => '../../../../..' + p)];
        return {
          found: found.filter(at => !/^\/(usr\/)?lib[^\/]*\/.*\.so/.test(at)).sort(),
          top: fs.readdirSync('/').sort(),
          reached: reach.filter(p => fs.existsSync(p)),
        }";
    let current = std::env::current_dir().unwrap().join("Cargo.toml");
    let paths = json!({"paths": [secret, current, std::env::current_exe().unwrap(), "/etc/shadow",
        "/etc/hostname", "/root", "/home", "/var", "/sys", "/bin/sh", "/var/run/docker.sock",
        "/proc/sys", "/proc/cpuinfo", "/proc/kcore", "/proc/cmdline", "/proc/keys", "/proc/kallsyms",
        "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/ptmx", "/dev/shm", "/dev/fuse"]});
    let got = value_of(&fixture, &job(code, &paths.to_string()));
    assert_eq!(
        got["found"],
        json!([
            "/dev/fd",
            "/dev/full",
            "/dev/null",
            "/dev/random",
            "/dev/stderr",
            "/dev/stdin",
            "/dev/stdout",
            "/dev/urandom",
            "/dev/zero",
            "/etc/group",
            "/etc/passwd",
            "/usr/local/bin/node"
        ])
    );
    assert_eq!(got["reached"], json!([]));
    let top: Vec<_> = got["top"].as_array().unwrap().iter().collect();
    let known = [
        "dev",
        "etc",
        "lib",
        "lib64",
        "proc",
        "tmp",
        "usr",
        "workspace",
    ];
    assert!(
        top.iter()
            .all(|name| known.contains(&name.as_str().unwrap())),
        "{top:?}"
    );
}

#[test]
fn nothing_outside_the_scratch_folders_can_be_written() {
    let fixture = Fixture::new();
    fixture.check(
        r#"
const fs = require('fs'), path = require('path');
const folders = ['/'];
for (const folder of folders) for (const entry of fs.readdirSync(folder, {withFileTypes: true}))
  if (entry.isDirectory() && !['/proc', '/tmp', '/workspace'].includes(path.join(folder, entry.name)))
    folders.push(path.join(folder, entry.name));
const attempt = act => { try { act(); return 'done'; } catch (error) { return error.code; } };
return [folders.length > 5, ...new Set(folders.flatMap(folder => [
  attempt(() => fs.writeFileSync(path.join(folder, 'x'), 'x')),
  attempt(() => fs.mkdirSync(path.join(folder, 'y'))),
  attempt(() => fs.symlinkSync('/tmp', path.join(folder, 'z'))),
  attempt(() => fs.chmodSync(folder, 0o777)),
]))]
=> [true,"EROFS"]

const fs = require('fs');
const attempt = act => { try { act(); return 'done'; } catch (error) { return error.code; } };
const files = [process.execPath, '/etc/passwd', '/etc/group', '/lib64/ld-linux-x86-64.so.2'].filter(file => fs.existsSync(file));
return [...new Set(files.flatMap(file => [
  attempt(() => fs.appendFileSync(file, 'x')), attempt(() => fs.truncateSync(file)),
  attempt(() => fs.unlinkSync(file)), attempt(() => fs.renameSync(file, '/tmp/x')),
  attempt(() => fs.utimesSync(file, 1, 1)), attempt(() => fs.chmodSync(file, 0o777)),
]))].filter(code => !['EROFS', 'EXDEV', 'EBUSY', 'EACCES', 'ETXTBSY'].includes(code))
=> []

const fs = require('fs');
const attempt = act => { try { act(); return 'done'; } catch (error) { return error.code; } };
return ['oom_score_adj', 'comm', 'timerslack_ns', 'coredump_filter', 'setgroups', 'uid_map', 'clear_refs']
  .map(name => attempt(() => fs.writeFileSync('/proc/self/' + name, '0'))).filter(code => code === 'done')
=> []

const fs = require('fs'); fs.copyFileSync(process.execPath, '/workspace/node'); fs.chmodSync('/workspace/node', 0o6755);
return require('child_process').spawnSync('/workspace/node', ['-v']).error.code
=> "EACCES"
"#,
    );
}

#[test]
fn other_processes_are_neither_seen_nor_signalled() {
    let scratch = Scratch::new();
    let (fixture, addon) = armed(&scratch);
    let mut bystander = Bystander::start();
    let code = r"
        const fs = require('fs');
        const seen = fs.readdirSync('/proc').filter(name => /^\d+$/.test(name) && +name !== process.pid);
        const read = (pid, file) => { try { return fs.readFileSync(`/proc/${pid}/${file}`).length; } catch { return null; } };
        const signal = (pid, name) => { try { process.kill(pid, name); return 'sent'; } catch (error) { return error.code; } };
        const first = ['environ', 'mem', 'maps', 'cmdline', 'status'].map(file => read(1, file));
        process.kill(1, 'SIGKILL'); process.kill(1, 'SIGSTOP'); process.kill(1, 'SIGTERM');
        return [seen, first, args.pids.map(pid => signal(pid, 'SIGKILL')),
          raw(args.kill, -1, 9), Object.keys(process.env).sort().join(),
          fs.readFileSync('/proc/self/environ', 'utf8').split('\0').filter(Boolean).map(it => it.split('=')[0]).filter(name => name !== 'LD_LIBRARY_PATH').sort().join()]";
    let parent = std::os::unix::process::parent_id();
    let pids = [bystander.0.id(), std::process::id(), parent, 100_000];
    let args = json!({"pids": pids, "kill": libc::SYS_kill});
    let got = value_of(&fixture, &armed_job(code, &addon, args));
    let nothing = Value::Null;
    assert_eq!(
        got,
        json!([
            [],
            [nothing, nothing, nothing, nothing, nothing],
            ["ESRCH", "ESRCH", "ESRCH", "ESRCH"],
            got[3],
            "HOME,PATH,TMPDIR,TZ",
            "HOME,NODE_OPTIONS,PATH,TMPDIR,TZ"
        ])
    );
    assert!(
        bystander.0.try_wait().unwrap().is_none(),
        "the bystander was killed"
    );
}

#[test]
fn there_is_no_network_not_even_the_host_s_loopback() {
    let scratch = Scratch::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = random_hex();
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract_socket = UnixListener::bind_addr(&abstract_name).unwrap();
    let path = scratch.0.join("s");
    let _socket = UnixListener::bind(&path).unwrap();
    let (fixture, addon) = armed(&scratch);
    let code = r"
        const net = require('net');
        const connect = to => new Promise(done => net.connect(to).on('error', error => done(error.code)).on('connect', () => done('open')));
        const address = Buffer.concat([Buffer.from([1, 0, 0]), Buffer.from(args.name)]);
        const socket = raw(args.socket, 1, 1, 0);
        return [await connect({port: args.port, host: '127.0.0.1'}), await connect({port: args.port, host: '::1'}),
          await connect({port: 53, host: '192.0.2.1'}), await connect({path: args.path}),
          socket > 0, raw(args.connect, socket, address, address.length),
          await require('dns').promises.lookup('example.com').catch(error => error.syscall),
          await new Promise(done => { try { require('dgram').createSocket('udp4').on('error', e => done(e.code)).send('x', 53, '127.0.0.1', e => done(e && e.code)); } catch (e) { done(e.code); } })]";
    let args = json!({"port": tcp.local_addr().unwrap().port(), "name": name, "path": path,
        "socket": libc::SYS_socket, "connect": libc::SYS_connect});
    let got = value_of(&fixture, &armed_job(code, &addon, args));
    let refused = -libc::ECONNREFUSED;
    let none = "EAFNOSUPPORT";
    assert_eq!(
        got,
        json!([
            none,
            none,
            none,
            "ENOENT",
            true,
            refused,
            "getaddrinfo",
            none
        ])
    );
}

#[test]
fn rights_are_gone_and_stay_gone() {
    let fixture = Fixture::new();
    fixture.check(
        r#"
const status = require('fs').readFileSync('/proc/self/status', 'utf8');
const field = name => new RegExp('^' + name + ':\\s*(.*)$', 'm').exec(status)[1].replace(/\s+/g, ' ');
return ['Uid', 'Gid', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp'].map(field)
=> ["1000 1000 1000 1000","1000 1000 1000 1000","0000000000000000","0000000000000000","0000000000000000","0000000000000000","0000000000000000","1","2"]

const os = require('os');
return [os.hostname(), os.userInfo().username, process.cwd(), process.execPath, process.pid > 1, process.ppid]
=> ["sandbox","node","/workspace","/usr/local/bin/node",true,1]

const limits = require('fs').readFileSync('/proc/self/limits', 'utf8');
return ['Max open files', 'Max core file size', 'Max processes', 'Max locked memory'].map(name => new RegExp(name + '\\s+(\\d+)\\s+(\\d+)').exec(limits).slice(1).join())
=> ["1024,1024","1,1","256,256","0,0"]
"#,
    );
}

/// Root's jails run as users of the host that nobody else is; others' as their own user.
#[test]
fn on_the_host_a_jail_is_nobody() {
    let fixture = Fixture::new();
    let mark = mark();
    let waiting = job(
        "process.title = args.mark; ctx.log('info', 1); await new Promise(r => setTimeout(r, 1e6))",
        &json!({ "mark": mark }).to_string(),
    );
    let mut uids = Vec::new();
    let mut look = OnLog(|| uids = marked(&mark).into_iter().map(uid).collect());
    let mut short = waiting;
    short.timeout = Duration::from_secs(1);
    fixture.run_observed(&short, &mut look);
    let own = uid(std::process::id());
    assert_eq!(uids.len(), 1);
    if own == 0 {
        assert!(uids[0] >= 0x6A00_0000, "{uids:?}");
    } else {
        assert_eq!(uids[0], own);
    }
}

fn uid(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// A process name that no other test gives.
pub(crate) fn mark() -> String {
    random_hex()[..12].to_owned()
}

/// Processes of the host with that name.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    processes(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == mark
    })
}

/// Does something when the code logs.
struct OnLog<F>(F);

impl<F: FnMut()> dynamic_mcp::domain::run::Observer for OnLog<F> {
    fn log(&mut self, _: &str, _: &JsonText) {
        self.0();
    }
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused("no client".to_owned())
    }
}

fn limited(mut job: Job, millis: u64) -> Job {
    job.timeout = Duration::from_millis(millis);
    job
}

#[test]
fn a_fork_bomb_stays_small_and_vanishes() {
    let scratch = Scratch::new();
    let (fixture, addon) = armed(&scratch);
    let mark = mark();
    let code = "process.title = args.mark;
        let last; for (let i = 0; i < 400; i++) { last = raw(args.fork, args.flags); if (last < 0) break; if (last === 0) raw(args.pause, 0, 0, 0, 0); }
        ctx.log('info', 1); await new Promise(r => setTimeout(r, 1000)); return last";
    let args = json!({"mark": mark, "fork": libc::SYS_clone, "flags": libc::SIGCHLD, "pause": libc::SYS_ppoll});
    let mut most = 0;
    let job = armed_job(code, &addon, args.clone());
    let ended = fixture.run_observed(&job, &mut OnLog(|| most = marked(&mark).len()));
    let Ok(Returned::Value(last)) = &ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(last.text(), (-libc::EAGAIN).to_string());
    assert!((100..=256).contains(&most), "{most}");
    let code = "process.title = args.mark; while (true) raw(args.fork, args.flags);";
    let ended = fixture.run(&limited(armed_job(code, &addon, args), 1500));
    let kind = kind_of(&ended);
    assert!(
        matches!(
            kind,
            Some(FailureKind::Timeout | FailureKind::Threw | FailureKind::OutOfMemory)
        ),
        "{ended:?}"
    );
    fixture.engine.stop(crate::support::engine::patience());
    assert_eq!(marked(&mark), [] as [u32; 0]);
}

#[test]
fn memory_is_bounded_over_all_processes_and_kinds() {
    let scratch = Scratch::new();
    let (fixture, addon) = armed(&scratch);
    // MAP_SHARED | MAP_ANONYMOUS counts towards no process's data.
    let shared = "while (true) { const at = raw(args.mmap, 0, 1 << 24, 3, 0x21, -1, 0); if (at < 0) return at;
        for (let page = 0; page < 1 << 24; page += 4096) raw(args.pread, args.zero, at + page, 1, 0); }";
    let shared = format!("args.zero = require('fs').openSync('/dev/zero'); {shared}");
    let args = json!({"mmap": libc::SYS_mmap, "pread": libc::SYS_pread64});
    let ended = fixture.run(&armed_job(&shared, &addon, args));
    assert_eq!(kind_of(&ended), Some(FailureKind::OutOfMemory), "{ended:?}");
    let family = "const hog = 'const a = []; while (a.length < 5) a.push(Buffer.alloc(1 << 24, 1)); setTimeout(() => {}, 1e6)';
        for (let i = 0; i < 6; i++) require('child_process').spawn(process.execPath, ['-e', hog]);
        const a = []; while (true) { a.push(Buffer.alloc(1 << 20, 1)); await new Promise(r => setTimeout(r, 5)); }";
    let ended = fixture.run(&job(family, "{}"));
    assert_eq!(kind_of(&ended), Some(FailureKind::OutOfMemory), "{ended:?}");
}

/// A child runs in its parent's memory until it is a program of its own, and counted once.
#[test]
fn a_large_process_may_start_children() {
    let code =
        "const large = Buffer.alloc(150 << 20, 1); const {spawnSync} = require('child_process');
        for (let i = 0; i < 25; i++) {
          const child = spawnSync(process.execPath, ['-p', '1']);
          if (child.status !== 0) return [i, child.signal, child.status];
        }
        return large.length";
    assert_eq!(Fixture::new().value(code), (150 << 20).to_string());
}

#[test]
fn files_and_descriptors_are_bounded() {
    Fixture::new().check(
        r#"
const fs = require('fs'); let count = 0;
try { while (true) { fs.openSync('/dev/null'); count++; } } catch (error) { return [error.code, count > 900 && count < 1024]; }
=> ["EMFILE",true]

const fs = require('fs'); const fill = folder => { let n = 0; try { while (true) fs.writeFileSync(folder + '/' + n, ''), n++; } catch (error) { return [error.code, n > 16000 && n < 33000]; } };
return [fill('/tmp'), fill('/workspace')]
=> [["ENOSPC",true],["ENOSPC",true]]
"#,
    );
}
