//! What jailed code may ask of the kernel: a seccomp filter as reviewed data, everything else does
//! not exist (`ENOSYS`, so that libraries fall back to what they did on older kernels). Held by a
//! golden test (`tests/golden/jail_filter.txt`). Pure; no system call is made here.

use std::fmt;

use libc::{c_int, c_long, sock_filter};

/// When a listed system call goes through. Arguments are compared by their lower 32 bits: all of
/// those looked at are C ints, or flags that live there.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// The argument has none of these bits, else the error.
    NoBits(u32, u32, c_int),
    /// The argument is one of these, else the error.
    OneOf(u32, &'static [u32], c_int),
}

/// One line of the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    name: &'static str,
    number: c_long,
    when: When,
}

macro_rules! always {
    ($($number:ident)*) => { &[$(
        Rule { name: stringify!($number), number: libc::$number, when: When::Always }
    ),*] };
}

/// Reading and writing what is in the jail, memory, threads, time, and pipes and sockets once they
/// are there. None of it names another process's memory, a mount, a key, a module or a clock.
const COMMON: &[Rule] = always![
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev
    SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_close SYS_close_range SYS_openat SYS_newfstatat
    SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir
    SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_mkdirat SYS_unlinkat SYS_renameat2 SYS_linkat
    SYS_symlinkat SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_truncate
    SYS_ftruncate SYS_fallocate SYS_fsync SYS_fdatasync SYS_flock SYS_copy_file_range
    SYS_sendfile SYS_fadvise64 SYS_umask SYS_dup SYS_dup3 SYS_pipe2 SYS_fcntl SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_ppoll SYS_pselect6 SYS_eventfd2
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_mmap SYS_munmap SYS_mprotect
    SYS_mremap SYS_madvise SYS_msync SYS_brk SYS_membarrier SYS_futex SYS_set_robust_list
    SYS_get_robust_list SYS_rseq SYS_set_tid_address SYS_gettid SYS_getpid SYS_getppid SYS_execve
    SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigaction
    SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_sigqueueinfo SYS_sigaltstack SYS_restart_syscall SYS_getuid SYS_geteuid SYS_getgid
    SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_capget SYS_getpgid SYS_setpgid
    SYS_getsid SYS_setsid SYS_getrusage SYS_getpriority SYS_times SYS_uname SYS_sysinfo
    SYS_getcpu SYS_sched_yield SYS_sched_getaffinity SYS_sched_getparam SYS_sched_getscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_clock_gettime SYS_clock_getres
    SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_timer_create SYS_timer_settime
    SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_getitimer SYS_setitimer
    SYS_getrandom SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown
    SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt SYS_sendto SYS_recvfrom
    SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg
];

/// The older spellings that x86-64 still has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Rule] = always![
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_unlink
    SYS_rename SYS_link SYS_symlink SYS_chmod SYS_chown SYS_lchown SYS_getdents SYS_utime
    SYS_utimes SYS_futimesat SYS_dup2 SYS_pipe SYS_poll SYS_select SYS_epoll_create
    SYS_epoll_wait SYS_eventfd SYS_fork SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time
    SYS_arch_prctl SYS_renameat SYS_getrlimit
];
/// Those that 64-bit Arm has, though not every C library's headers name them.
#[cfg(target_arch = "aarch64")]
const OLDER: &[Rule] = &[
    Rule {
        name: "SYS_renameat",
        number: 38,
        when: When::Always,
    },
    Rule {
        name: "SYS_getrlimit",
        number: 163,
        when: When::Always,
    },
];

const NEW_NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Sockets of other families reach code of the kernel that nothing here needs.
const UNIX_ONLY: When = When::OneOf(0, &[libc::AF_UNIX.cast_unsigned()], libc::EAFNOSUPPORT);

/// Calls that depend on an argument. `clone3` hides its flags from filters: it does not exist here.
const CONDITIONAL: &[Rule] = &[
    Rule {
        name: "SYS_clone",
        number: libc::SYS_clone,
        when: When::NoBits(0, NEW_NAMESPACES.cast_unsigned(), libc::EPERM),
    },
    Rule {
        name: "SYS_socket",
        number: libc::SYS_socket,
        when: UNIX_ONLY,
    },
    Rule {
        name: "SYS_socketpair",
        number: libc::SYS_socketpair,
        when: UNIX_ONLY,
    },
    // The limits of others are not ours to change; 0 is the caller.
    Rule {
        name: "SYS_prlimit64",
        number: libc::SYS_prlimit64,
        when: When::OneOf(0, &[0], libc::EPERM),
    },
    Rule {
        name: "SYS_prctl",
        number: libc::SYS_prctl,
        when: When::OneOf(
            0,
            &[
                libc::PR_SET_NAME.cast_unsigned(),
                libc::PR_GET_NAME.cast_unsigned(),
            ],
            libc::EINVAL,
        ),
    },
    Rule {
        name: "SYS_ioctl",
        number: libc::SYS_ioctl,
        when: When::OneOf(
            1,
            &[TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX],
            libc::ENOTTY,
        ),
    },
];

// asm-generic/ioctls.h, the same on both architectures.
const TCGETS: u32 = 0x5401;
const FIONREAD: u32 = 0x541B;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;

/// linux/audit.h: the machine's number, 64 bits, little endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the jail's filter is written for x86_64 and aarch64: add this machine's numbers");

/// Every line, in the order in which the kernel looks at them: those that depend on an argument
/// last, as they are rare.
pub(super) fn rules() -> impl Iterator<Item = Rule> {
    [COMMON, OLDER, CONDITIONAL].into_iter().flatten().copied()
}

/// The filter for the kernel (linux/filter.h, linux/seccomp.h).
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE_OFFSET),
        jump_if(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_OFFSET),
    ];
    for rule in rules() {
        let verdict = rule.verdict();
        let Ok(skip) = u8::try_from(verdict.len()) else {
            unreachable!("no rule has more than a few values")
        };
        let Ok(number) = u32::try_from(rule.number) else {
            unreachable!("numbers of system calls are small")
        };
        program.push(jump_if(libc::BPF_JEQ, number, 0, skip));
        program.extend(verdict);
    }
    program.push(refuse(libc::ENOSYS));
    program
}

const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

/// Lower half of an argument in `struct seccomp_data`, little endian.
fn argument_offset(index: u32) -> u32 {
    16 + 8 * index
}

impl Rule {
    /// What follows once the number is known; every path ends in an answer.
    fn verdict(&self) -> Vec<sock_filter> {
        match self.when {
            When::Always => vec![answer(libc::SECCOMP_RET_ALLOW)],
            When::NoBits(argument, bits, error) => vec![
                load(argument_offset(argument)),
                jump_if(libc::BPF_JSET, bits, 1, 0),
                answer(libc::SECCOMP_RET_ALLOW),
                refuse(error),
            ],
            When::OneOf(argument, values, error) => {
                let mut verdict = vec![load(argument_offset(argument))];
                for value in values {
                    verdict.push(jump_if(libc::BPF_JEQ, *value, 0, 1));
                    verdict.push(answer(libc::SECCOMP_RET_ALLOW));
                }
                verdict.push(refuse(error));
                verdict
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.trim_start_matches("SYS_");
        match self.when {
            When::Always => formatter.write_str(name),
            When::NoBits(argument, bits, error) => {
                write!(
                    formatter,
                    "{name}: argument {argument} without {bits:#x}, else error {error}"
                )
            }
            When::OneOf(argument, values, error) => {
                write!(
                    formatter,
                    "{name}: argument {argument} one of {values:x?}, else error {error}"
                )
            }
        }
    }
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let Ok(code) = u16::try_from(code) else {
        unreachable!("all codes have 16 bits")
    };
    sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump_if(test: u32, value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_K | test, value, then, otherwise)
}

fn answer(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, action, 0, 0)
}

fn refuse(error: c_int) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | error.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's machine, as far as `program` uses it; it looks at lower halves alone.
    #[allow(clippy::cast_possible_truncation)]
    fn judge(number: c_long, arguments: [u64; 2], architecture: u32) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                0x20 => {
                    loaded = match k {
                        0 => u32::try_from(number).unwrap(),
                        4 => architecture,
                        16 => arguments[0] as u32,
                        24 => arguments[1] as u32,
                        other => panic!("load of {other}"),
                    }
                }
                0x15 => at += usize::from(if loaded == k { jt } else { jf }),
                0x45 => at += usize::from(if loaded & k != 0 { jt } else { jf }),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_whole_filter_is_the_reviewed_one() {
        let text: String = rules().map(|rule| format!("{rule}\n")).collect();
        let golden = include_str!("../../../tests/golden/jail_filter.txt");
        assert_eq!(text, golden, "{text}");
    }

    #[test]
    fn what_is_not_listed_does_not_exist() {
        let allowed: Vec<c_long> = rules().map(|rule| rule.number).collect();
        for number in (0..1024).chain(0x4000_0000..0x4000_0400) {
            let verdict = judge(number, [0, 0], ARCHITECTURE);
            if allowed.contains(&number) {
                assert_ne!(verdict, 0x0005_0000 | libc::ENOSYS as u32, "{number}");
            } else {
                assert_eq!(verdict, 0x0005_0000 | libc::ENOSYS as u32, "{number}");
            }
        }
    }

    #[test]
    fn verdicts_by_argument() {
        let check = |number, arguments, error: Option<c_int>| {
            let expected = error.map_or(0x7fff_0000, |error| 0x0005_0000 | error as u32);
            assert_eq!(
                judge(number, arguments, ARCHITECTURE),
                expected,
                "{number} {arguments:x?}"
            );
        };
        check(libc::SYS_read, [0, 0], None);
        check(libc::SYS_clone, [libc::SIGCHLD as u64, 0], None);
        for namespace in 17..31 {
            let refused = NEW_NAMESPACES as u64 & (1 << namespace) != 0;
            check(
                libc::SYS_clone,
                [1 << namespace, 0],
                refused.then_some(libc::EPERM),
            );
        }
        check(libc::SYS_socket, [1, 0], None);
        for family in (0..50).filter(|family| *family != 1) {
            check(libc::SYS_socket, [family, 0], Some(libc::EAFNOSUPPORT));
            check(libc::SYS_socketpair, [family, 0], Some(libc::EAFNOSUPPORT));
        }
        check(libc::SYS_prlimit64, [0, 0], None);
        check(libc::SYS_prlimit64, [1, 0], Some(libc::EPERM));
        check(libc::SYS_ioctl, [0, 0x5401], None);
        check(libc::SYS_ioctl, [0, 0x5412], Some(libc::ENOTTY));
        check(libc::SYS_prctl, [15, 0], None);
        check(libc::SYS_prctl, [4, 0], Some(libc::EINVAL));
    }

    #[test]
    fn calls_of_another_machine_end_the_process() {
        assert_eq!(
            judge(libc::SYS_read, [0, 0], 0x4000_0003),
            libc::SECCOMP_RET_KILL_PROCESS
        );
    }
}
