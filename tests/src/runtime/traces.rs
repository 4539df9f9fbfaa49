//! What containers leave behind in the system: cgroups above theirs, processes, mounts, directories.
//!
//! Notes what is there before a test and takes away what was added. Refuses to touch what was there.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};

/// Cgroups at the top of each hierarchy that runtimes put theirs below.
const TOPS: [&str; 5] = ["default", "k8s.io", "kubepods", "libpod_parent", "oom-test"];

const CGROUPS: &str = "/sys/fs/cgroup";

/// How long a cgroup may take to become empty.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cgroups of [`TOPS`] and below that were there before.
#[derive(Debug)]
pub(super) struct Traces(BTreeSet<PathBuf>);

impl Traces {
    pub(super) fn none_yet() -> Result<Self> {
        let mut there = BTreeSet::new();
        for top in tops()? {
            walk(&top, &mut |dir| {
                there.insert(dir.to_owned());
            });
        }
        Ok(Self(there))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        for top in tops().into_iter().flatten() {
            walk(&top, &mut |dir| {
                if !self.0.contains(dir) {
                    remove_cgroup(dir);
                }
            });
        }
    }
}

/// Both the one hierarchy of version 2 and the many of version 1.
fn tops() -> Result<Vec<PathBuf>> {
    let root = Path::new(CGROUPS);
    let mut hierarchies = vec![root.to_owned()];
    for entry in fs::read_dir(root)? {
        hierarchies.push(entry?.path());
    }
    let tops = hierarchies
        .iter()
        .flat_map(|hierarchy| TOPS.map(|top| hierarchy.join(top)));
    Ok(tops.filter(|top| top.is_dir()).collect())
}

/// A directory and all below it, children first.
fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
    visit(dir);
}

/// Removes a cgroup once its last process is gone; says so if that does not come.
pub(super) fn remove_cgroup(dir: &Path) {
    let end = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                thread::yield_now();
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("left behind: {}: {error}", dir.display());
                return;
            }
            _ => return,
        }
    }
}

/// Kills all that is in a cgroup or below it.
pub(super) fn end_all(dir: &Path) {
    walk(dir, &mut |dir| {
        processes(dir).into_iter().for_each(end_process);
    });
}

/// The processes of a cgroup.
pub(super) fn processes(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills a process; it may be gone.
pub(super) fn end_process(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills the processes that name this file on their command line: the shims of a daemon's own socket.
pub(super) fn end_users_of(file: &Path) {
    let file = file.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let Some(pid) = pid
            && line.split(|&byte| byte == 0).any(|word| word == file)
        {
            end_process(pid);
        }
    }
}

/// Takes away everything that is mounted below a directory, the last first.
pub(super) fn unmount_below(dir: &Path) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in text.lines().rev() {
        let mounted = line.split(' ').nth(4).map(Path::new);
        if let Some(mounted) = mounted.filter(|mounted| mounted.starts_with(dir)) {
            let _ = unmount(mounted, UnmountFlags::DETACH);
        }
    }
}
