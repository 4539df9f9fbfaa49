//! The system calls that the agent makes, by what makes them; every other one fails with `EPERM`.
//!
//! Takes features; installs a filter (seccomp(2)) for all threads of the process at once. `x86_64` and
//! aarch64; elsewhere there is no filter. Calls of another architecture's table end the process.
//!
//! What is not in any list, on purpose: `execve`, `ptrace`, `mount`, `setns`, `unshare`, `init_module`,
//! `kexec_load`, `io_uring`, memory that can be executed, signals to other processes, new processes; sockets
//! but those of a client, of which none is local: container runtimes listen on such, and obey.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use thiserror::Error;

use super::{Feature, State};

/// Why there is no filter.
#[derive(Debug, Error)]
enum FilterError {
    #[error("system calls are not known on {}", std::env::consts::ARCH)]
    Architecture,
    #[error(transparent)]
    Build(#[from] BackendError),
    #[error(transparent)]
    Install(#[from] seccompiler::Error),
}

/// What every tier makes, whatever it is asked for.
const ALWAYS: &[i64] = &[
    // Memory; mappings have rules of their own.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mlockall,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setpriority,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, chance, and who we are.
    libc::SYS_capget,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_pidfd_open,
    libc::SYS_ppoll,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Reading, and writing to what is open.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    // Its flags are in memory, out of the filter's sight.
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    // An alert, to a pipe that takes it at once.
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    // The pair of sockets by which a signal wakes the main thread.
    libc::SYS_recvfrom,
    // To the service manager.
    libc::SYS_sendto,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The same by older names, which other architectures do not have.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[i64] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[i64] = &[];

/// What changes directories.
const DIRECTORIES: &[i64] = &[libc::SYS_mkdirat, libc::SYS_renameat2, libc::SYS_unlinkat];
#[cfg(target_arch = "x86_64")]
const DIRECTORIES_HERE: &[i64] = &[
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];
/// What rename(2) of the C library is here.
#[cfg(target_arch = "aarch64")]
const DIRECTORIES_HERE: &[i64] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const DIRECTORIES_HERE: &[i64] = &[];

/// What a database makes of its files.
const STORE: &[i64] = &[
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_utimensat,
];

/// What a listener and its connections make.
const SERVER: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// What a connection and the look-up of a name make beside the socket.
const CLIENT: &[i64] = &[
    // The resolver of musl binds its socket. Nobody can be listened to.
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Lists that a feature adds.
fn lists(feature: Feature) -> &'static [&'static [i64]] {
    match feature {
        // Pins of a predecessor go when its last record is durable.
        Feature::Bpf => &[&[libc::SYS_bpf], DIRECTORIES, DIRECTORIES_HERE],
        Feature::Store => &[STORE, DIRECTORIES, DIRECTORIES_HERE],
        Feature::Server => &[SERVER, DIRECTORIES, DIRECTORIES_HERE],
        Feature::Client => &[CLIENT],
        Feature::Log | Feature::Names | Feature::Priority | Feature::LockedMemory => &[],
    }
}

/// Which threads a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    All,
    This,
}

/// Installs the filters.
pub(super) fn install(features: &[Feature], threads: Threads) -> State {
    let installed = filters(features).and_then(|programs| {
        for program in &programs {
            match threads {
                Threads::All => seccompiler::apply_filter_all_threads(program)?,
                Threads::This => seccompiler::apply_filter(program)?,
            }
        }
        Ok(())
    });
    installed.map_or_else(
        |error| State::Off(crate::error::chain(&error)),
        |()| State::On,
    )
}

/// In the order of installing.
fn filters(features: &[Feature]) -> Result<[BpfProgram; 2], FilterError> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Architecture)?;
    // The flags of clone3(2) are in memory: the C library is told that there is none, and takes clone(2).
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        errno(libc::ENOSYS),
        arch,
    )?;
    let mut allowed = rules(features)?;
    let always = [ALWAYS, ALWAYS_HERE, &[libc::SYS_clone3]];
    let more = features.iter().flat_map(|&feature| lists(feature)).copied();
    for &call in always.into_iter().chain(more).flatten() {
        allowed.insert(call, Vec::new());
    }
    let allow = SeccompFilter::new(allowed, errno(libc::EPERM), SeccompAction::Allow, arch)?;
    Ok([no_clone3.try_into()?, allow.try_into()?])
}

/// Calls that are allowed with some arguments alone.
fn rules(features: &[Feature]) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = Rules::default();
    // Memory is written to or executed, not both; and what is to be executed is there already.
    rules.without(libc::SYS_mmap, 2, libc::PROT_EXEC)?;
    rules.without(libc::SYS_mprotect, 2, libc::PROT_EXEC)?;
    // Threads, no processes.
    let thread = bits(libc::CLONE_THREAD);
    rules.allow(
        libc::SYS_clone,
        0,
        Dword,
        SeccompCmpOp::MaskedEq(thread),
        thread,
    )?;
    // A panic ends in abort(3): tgkill(2), and tkill(2) in musl.
    rules.equal(libc::SYS_tgkill, 0, u64::from(std::process::id()))?;
    rules.equal(libc::SYS_tkill, 1, bits(libc::SIGABRT))?;
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME] {
        rules.equal(libc::SYS_prctl, 0, bits(option))?;
    }
    // Limits are read: the pointer to new ones is null.
    rules.allow(libc::SYS_prlimit64, 2, Qword, SeccompCmpOp::Eq, 0)?;
    for request in [TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO] {
        rules.equal(libc::SYS_ioctl, 1, request)?;
    }
    if features.contains(&Feature::Client) {
        for domain in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                rules.socket(domain, kind)?;
            }
        }
    }
    if features.contains(&Feature::Store) {
        for call in [OPENS, OPENS_HERE].into_iter().flatten() {
            rules.0.insert(call.number, Vec::new());
        }
    } else {
        // Not `O_ACCMODE`, which in musl holds `O_PATH`.
        let write = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        for call in [OPENS, OPENS_HERE].into_iter().flatten() {
            rules.without(call.number, call.flags, write)?;
        }
    }
    Ok(rules.0)
}

/// Requests of ioctl(2): what the standard library asks of terminals, pipes and sockets. The C libraries
/// do not agree on their type (`asm-generic/ioctls.h`).
const TCGETS: u64 = 0x5401;
const TIOCGWINSZ: u64 = 0x5413;
const FIONREAD: u64 = 0x541b;
const FIONBIO: u64 = 0x5421;

/// A call that opens files, and which of its arguments says how.
struct Opens {
    number: i64,
    flags: u8,
}

const OPENS: &[Opens] = &[Opens {
    number: libc::SYS_openat,
    flags: 2,
}];
#[cfg(target_arch = "x86_64")]
const OPENS_HERE: &[Opens] = &[Opens {
    number: libc::SYS_open,
    flags: 1,
}];
#[cfg(not(target_arch = "x86_64"))]
const OPENS_HERE: &[Opens] = &[];

/// A call is allowed if one of its rules holds; without rules always.
#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

impl Rules {
    fn allow(
        &mut self,
        call: i64,
        argument: u8,
        length: SeccompCmpArgLen,
        operator: SeccompCmpOp,
        value: u64,
    ) -> Result<(), BackendError> {
        let condition = SeccompCondition::new(argument, length, operator, value)?;
        let rules = self.0.entry(call).or_default();
        rules.push(SeccompRule::new(vec![condition])?);
        Ok(())
    }

    /// Of this domain and kind, with any flags.
    fn socket(&mut self, domain: libc::c_int, kind: libc::c_int) -> Result<(), BackendError> {
        let flags = !bits(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) & u64::from(u32::MAX);
        let domain = SeccompCondition::new(0, Dword, SeccompCmpOp::Eq, bits(domain))?;
        let kind = SeccompCondition::new(1, Dword, SeccompCmpOp::MaskedEq(flags), bits(kind))?;
        let rules = self.0.entry(libc::SYS_socket).or_default();
        rules.push(SeccompRule::new(vec![domain, kind])?);
        Ok(())
    }

    /// If the argument is this value.
    fn equal(&mut self, call: i64, argument: u8, value: u64) -> Result<(), BackendError> {
        self.allow(call, argument, Dword, SeccompCmpOp::Eq, value)
    }

    /// If the argument has none of these flags.
    fn without(&mut self, call: i64, argument: u8, flags: libc::c_int) -> Result<(), BackendError> {
        self.allow(
            call,
            argument,
            Dword,
            SeccompCmpOp::MaskedEq(bits(flags)),
            0,
        )
    }
}

fn bits(flags: libc::c_int) -> u64 {
    u64::from(flags.cast_unsigned())
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}
