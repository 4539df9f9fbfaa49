//! The processes of a cgroup and all below it, or the largest of the machine, from `/proc`.
//!
//! Reads `cgroup.procs`, and of each process `statm` (who is large), `comm`, `status` and
//! `oom_score_adj`; emits [`TaskRow`]s. Not `stat`: its name can hold anything, and it costs the most.
//! Refuses a process without memory of its own: a kernel thread, a zombie, or one that has given it back
//! already, as the victim may have. One that vanishes meanwhile is no error.

use std::{
    cmp::Reverse,
    fs,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::Errno,
};

use super::files::{Buffer, again_text, whole};
use crate::{
    event::TaskRow,
    source::scan::{number, signed},
    text::{COMM_LEN, Comm},
};

/// Processes of a cgroup that are looked at.
pub const MAX_PROCESSES: usize = 1024;

/// Processes of the machine that are told.
pub const MAX_LARGEST: usize = 50;

/// How long all of it may take.
pub const TIME: Duration = Duration::from_millis(20);

/// A list of pids that is longer is cut off.
const MAX_LIST: usize = 1 << 20;

/// Cgroups below the one that are looked into.
const MAX_CGROUPS: usize = 1024;

/// Rows, and how many processes were left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: Vec<TaskRow>,
    pub(super) dropped: u32,
}

/// The processes of the cgroup in this directory, and of all below it.
pub(super) fn of_cgroup(proc: &Path, dir: &Path, buffer: &mut Buffer) -> Rows {
    let until = Instant::now() + TIME;
    let mut rows = Rows::default();
    let mut pids = Vec::new();
    let mut text = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        if seen >= MAX_CGROUPS || Instant::now() > until {
            // At least one process in each that is left.
            rows.dropped = rows.dropped.saturating_add(count(dirs.len() + 1));
            break;
        }
        seen += 1;
        // Absent, or refused in a threaded cgroup of version 2: the one above lists its processes.
        let listed =
            fs_open(&dir.join("cgroup.procs")).and_then(|file| whole(&file, &mut text, MAX_LIST));
        if listed.is_ok() {
            pids.extend(text.split(|&byte| byte == b'\n').filter_map(number::<u32>));
            rows.dropped += u32::from(text.len() > MAX_LIST);
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    for (index, &pid) in pids.iter().enumerate() {
        if index >= MAX_PROCESSES || Instant::now() > until {
            rows.dropped = rows.dropped.saturating_add(count(pids.len() - index));
            break;
        }
        rows.rows.extend(row(proc, pid, buffer));
    }
    rows
}

/// The largest processes of the machine by resident memory, the largest first.
pub(super) fn largest(proc: &Path, page_size: u64, buffer: &mut Buffer) -> Rows {
    let until = Instant::now() + TIME;
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| number::<u32>(entry.file_name().as_encoded_bytes()));
    let mut rows = Rows::default();
    let mut found: Vec<(u64, u32)> = Vec::new();
    for pid in pids {
        // Half of the time is for the rows; whoever is not looked at is counted.
        if Instant::now() + TIME / 2 > until {
            rows.dropped = rows.dropped.saturating_add(1);
        } else if let Some(rss) = resident(proc, pid, page_size, buffer).filter(|&rss| rss > 0) {
            found.push((rss, pid));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = found.len();
    for &(_, pid) in found.iter().take(MAX_LARGEST) {
        if Instant::now() > until {
            break;
        }
        rows.rows.extend(row(proc, pid, buffer));
        left -= 1;
    }
    rows.dropped = rows.dropped.saturating_add(count(left));
    rows.rows.sort_by_key(|row| Reverse(row.rss_bytes));
    rows
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn fs_open(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Resident memory, the second number of `statm`, in pages.
fn resident(proc: &Path, pid: u32, page_size: u64, buffer: &mut Buffer) -> Option<u64> {
    let file = fs_open(&proc.join(pid.to_string()).join("statm")).ok()?;
    let mut numbers = again_text(&file, buffer)?.split(|&byte| byte == b' ');
    number::<u64>(numbers.nth(1)?)?.checked_mul(page_size)
}

/// One process; all its files are of the same, for its directory is opened once.
fn row(proc: &Path, pid: u32, buffer: &mut Buffer) -> Option<TaskRow> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(proc.join(pid.to_string()), flags, Mode::empty()).ok()?;
    let file =
        |name: &str| openat(&dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    let comm = comm(again_text(&file("comm")?, buffer)?);
    let oom_score_adj = signed(again_text(&file("oom_score_adj")?, buffer)?.trim_ascii())?;
    let status = Status::parse(again_text(&file("status")?, buffer)?)?;
    Some(TaskRow {
        pid,
        tgid: status.tgid,
        uid: status.uid,
        comm,
        total_vm_bytes: status.total_vm_bytes,
        rss_bytes: status.rss_bytes,
        pgtables_bytes: status.pgtables_bytes,
        swap_bytes: status.swap_bytes,
        oom_score_adj,
    })
}

/// `comm` holds the name as it is, and a newline of its own behind it.
fn comm(text: &[u8]) -> Comm {
    let name = text.strip_suffix(b"\n").unwrap_or(text);
    Comm::new(&name[..name.len().min(COMM_LEN)])
}

#[derive(Debug, PartialEq, Eq)]
struct Status {
    tgid: u32,
    uid: u32,
    total_vm_bytes: u64,
    rss_bytes: u64,
    pgtables_bytes: Option<u64>,
    swap_bytes: Option<u64>,
}

impl Status {
    /// `Name:\tvalue …`; the name of the process is escaped there and cannot forge a line.
    fn parse(text: &[u8]) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.split(|&byte| byte == b'\n');
            let value =
                lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
            let mut words = value.split(u8::is_ascii_whitespace);
            words.find(|word| !word.is_empty())
        };
        let bytes = |name: &str| number::<u64>(field(name)?)?.checked_mul(1024);
        // Before 4.15 each level of page tables is told apart.
        let pgtables = ["VmPTE", "VmPMD"].into_iter().filter_map(bytes);
        Some(Self {
            tgid: number(field("Tgid")?)?,
            uid: number(field("Uid")?)?,
            total_vm_bytes: bytes("VmSize")?,
            rss_bytes: bytes("VmRSS")?,
            pgtables_bytes: pgtables.reduce(u64::saturating_add),
            swap_bytes: bytes("VmSwap"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str = "Name:\tx\\nVmRSS:\t7 kB) (\nUmask:\t0022\nState:\tR (running)\nTgid:\t40\n\
        Pid:\t40\nPPid:\t12\nUid:\t1000\t0\t0\t0\nVmPeak:\t    9999 kB\nVmSize:\t    3060 kB\n\
        VmRSS:\t    1668 kB\nVmPTE:\t      44 kB\nVmSwap:\t       8 kB\n";

    #[test]
    fn status_gives_sizes_and_the_real_uid() {
        let expected = Status {
            tgid: 40,
            uid: 1000,
            total_vm_bytes: 3060 << 10,
            rss_bytes: 1668 << 10,
            pgtables_bytes: Some(44 << 10),
            swap_bytes: Some(8 << 10),
        };
        assert_eq!(Status::parse(STATUS.as_bytes()), Some(expected));
        let old = STATUS.replace("VmSwap", "VmPMD:\t 12 kB\nVmSwap");
        let old = Status::parse(old.as_bytes()).unwrap();
        assert_eq!(old.pgtables_bytes, Some(56 << 10));
        // A kernel thread or a zombie.
        let without = STATUS.replace("VmRSS:\t    1668 kB\n", "");
        assert_eq!(Status::parse(without.as_bytes()), None);
        assert_eq!(Status::parse(b"\xff"), None);
    }

    fn process(proc: &Path, pid: u32, name: &[u8], rss_kb: u64) {
        let dir = proc.join(pid.to_string());
        fs::create_dir(&dir).unwrap();
        let status = STATUS
            .replace(":\t40", &format!(":\t{pid}"))
            .replace("1668", &rss_kb.to_string());
        fs::write(dir.join("status"), status).unwrap();
        fs::write(
            dir.join("statm"),
            format!("765 {} 406 5 0 123 0\n", rss_kb / 4),
        )
        .unwrap();
        fs::write(dir.join("comm"), [name, b"\n"].concat()).unwrap();
        fs::write(dir.join("oom_score_adj"), "-17\n").unwrap();
    }

    #[test]
    fn hostile_names_are_names() {
        let proc = tempfile::tempdir().unwrap();
        let names = [
            &b"hog"[..],
            b") R 1 (",
            b"new\nline",
            b"\n\n",
            b"\xff\"",
            b"",
        ];
        for (pid, name) in (1..).zip(names) {
            process(proc.path(), pid, name, 1668);
            let row = row(proc.path(), pid, &mut Buffer::default()).unwrap();
            assert_eq!(row.comm, Comm::new(name));
            assert_eq!((row.pid, row.tgid, row.oom_score_adj), (pid, pid, -17));
        }
    }

    #[test]
    fn processes_of_a_cgroup_and_below() {
        let (proc, cgroup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for pid in [1, 2, 3] {
            process(proc.path(), pid, b"x", 4);
        }
        let below = cgroup.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        // 0 is a process of another pid namespace, 9 is gone.
        fs::write(cgroup.path().join("cgroup.procs"), "1\n0\n9\n").unwrap();
        fs::write(below.join("cgroup.procs"), "2\n3\n").unwrap();
        let rows = of_cgroup(proc.path(), cgroup.path(), &mut Buffer::default());
        let mut pids: Vec<u32> = rows.rows.iter().map(|row| row.pid).collect();
        pids.sort_unstable();
        assert_eq!((pids, rows.dropped), (vec![1, 2, 3], 0));
        let gone = of_cgroup(
            proc.path(),
            &cgroup.path().join("gone"),
            &mut Buffer::default(),
        );
        assert_eq!(gone, Rows::default());
        let many = "9\n".repeat(2000);
        fs::write(below.join("cgroup.procs"), many).unwrap();
        let rows = of_cgroup(proc.path(), &below, &mut Buffer::default());
        assert!(rows.rows.is_empty() && rows.dropped >= 2000 - 1024);
    }

    #[test]
    fn the_largest_of_the_machine() {
        let proc = tempfile::tempdir().unwrap();
        for pid in 1..=60 {
            process(proc.path(), pid, b"x", u64::from(pid) * 40);
        }
        fs::create_dir(proc.path().join("61")).unwrap();
        fs::create_dir(proc.path().join("self")).unwrap();
        let rows = largest(proc.path(), 4096, &mut Buffer::default());
        let told: Vec<u32> = rows.rows.iter().map(|row| row.pid).collect();
        assert!(told.is_sorted_by(|a, b| a > b), "{told:?}");
        // Whoever is not looked at for want of time is counted, the empty one too.
        let all = told.len() + rows.dropped as usize;
        assert!((60..=61).contains(&all), "{all}");
    }

    #[test]
    fn this_process_is_read() {
        let own = std::process::id();
        let row = row(Path::new("/proc"), own, &mut Buffer::default()).unwrap();
        assert_eq!((row.pid, row.tgid), (own, own));
        assert!(row.rss_bytes > 0 && row.total_vm_bytes > row.rss_bytes);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>) {
            let _ = Status::parse(&text);
            let _ = comm(&text);
        }
    }
}
