//! The first process of a test guest: `cargo xtask vm` boots a kernel into it.
//!
//! Reads its arguments (what stands behind `--` on the kernel's command line) and runs them as
//! commands, a `;` between them, after mounting what the agent needs. Emits `vm-init: exit N` on the console and powers
//! the machine off. Refuses to run as anything but process 1.

use std::{
    env,
    ffi::{CStr, OsString},
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode},
};

use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, reboot},
};

/// A file system: where, which, with what options.
type Mount = (&'static str, &'static str, Option<&'static CStr>);

const MOUNTS: [Mount; 6] = [
    ("/proc", "proc", None),
    ("/sys", "sysfs", None),
    ("/dev", "devtmpfs", None),
    ("/tmp", "tmpfs", None),
    ("/sys/kernel/tracing", "tracefs", None),
    ("/sys/fs/bpf", "bpf", None),
];

const CGROUP2: [Mount; 1] = [("/sys/fs/cgroup", "cgroup2", None)];

/// The memory controller on version 1, beside an empty version 2 tree, as systemd's hybrid mode has it.
const CGROUP_HYBRID: [Mount; 3] = [
    ("/sys/fs/cgroup", "tmpfs", None),
    ("/sys/fs/cgroup/memory", "cgroup", Some(c"memory")),
    ("/sys/fs/cgroup/unified", "cgroup2", None),
];

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("vm-init: only for the first process of a test guest");
        return ExitCode::FAILURE;
    }
    mount_all(&MOUNTS);
    // The kernel hands unknown `key=value` words of its command line to the first process.
    if env::var_os("OOM_VM_MEMORY").is_some_and(|version| version == "v1") {
        mount_all(&CGROUP_HYBRID);
    } else {
        mount_all(&CGROUP2);
        report(
            "enabling the memory controller",
            fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory"),
        );
    }
    println!("\nvm-init: up");
    println!("\nvm-init: exit {}", run());
    report("power off", reboot(RebootCommand::PowerOff));
    ExitCode::FAILURE
}

/// Runs the commands, all of them; the exit code of the first that failed.
fn run() -> i32 {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let codes: Vec<i32> = args.split(|word| word == ";").map(run_one).collect();
    codes.into_iter().find(|&code| code != 0).unwrap_or(0)
}

/// Runs a command; its exit code as a shell would give it.
fn run_one(words: &[OsString]) -> i32 {
    let Some((program, args)) = words.split_first() else {
        eprintln!("vm-init: no command");
        return 127;
    };
    let status = Command::new(program)
        .args(args)
        .env("PATH", "/bin")
        .env("HOME", "/tmp")
        .status();
    match status {
        Ok(status) => status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(error) => {
            eprintln!("vm-init: {}: {error}", program.display());
            127
        }
    }
}

/// A kernel may lack one of them: that is said, and the command sees what there is.
fn mount_all(mounts: &[Mount]) {
    for &(target, kind, options) in mounts {
        report(target, fs::create_dir_all(target));
        report(
            target,
            mount(kind, target, kind, MountFlags::empty(), options),
        );
    }
}

fn report<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        eprintln!("vm-init: {what}: {error}");
    }
}
