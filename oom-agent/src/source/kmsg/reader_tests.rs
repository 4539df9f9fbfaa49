//! The reader against a scripted device, and against the real one.

use std::{
    collections::VecDeque,
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::text::Comm;

/// Answers reads from a script; at its end there is nothing to read.
struct Script(VecDeque<Result<String, Errno>>);

impl RecordSource for Script {
    fn read_record(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let record = self.0.pop_front().unwrap_or(Err(Errno::AGAIN))?;
        let Some(room) = buffer.get_mut(..record.len()) else {
            return Err(Errno::INVAL);
        };
        room.copy_from_slice(record.as_bytes());
        Ok(record.len())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one answer of a script")]
fn killed(seq: u64) -> Result<String, Errno> {
    Ok(format!(
        "3,{seq},9,-;Killed process {seq} (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB\n"
    ))
}

/// Threads killed (positive) and records lost (negative), and the errors, of drains until all is read.
fn read(position: Position, script: Vec<Result<String, Errno>>) -> (Vec<i64>, Vec<String>) {
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    let mut reader = KmsgReader::new(Script(script.into()), position, Options::default()).unwrap();
    loop {
        let mut batch = Batch::default();
        if let Err(error) = reader.drain(&mut batch) {
            errors.push(format!("{error:?}"));
        } else if batch.evidence.is_empty() {
            return (seen, errors);
        }
        seen.extend(batch.evidence.iter().map(|evidence| match evidence {
            KmsgEvidence::Killed(kill) => i64::from(kill.tid),
            KmsgEvidence::Lost { records } => -i64::try_from(*records).unwrap(),
            other => panic!("{other:?}"),
        }));
    }
}

#[test]
fn an_overrun_is_survived_and_counted() {
    let overrun = || Err(Errno::PIPE);
    let again = || Err(Errno::AGAIN);
    let start = Position::Start;
    assert_eq!(read(start, vec![killed(1), killed(2)]).0, [1, 2]);
    assert_eq!(read(start, vec![overrun(), killed(5)]).0, [5]);
    assert_eq!(
        read(
            start,
            vec![killed(1), overrun(), killed(5), overrun(), killed(9)]
        )
        .0,
        [1, -3, 5, -3, 9]
    );
    assert_eq!(
        read(start, vec![killed(1), Err(Errno::INTR), killed(4)]).0,
        [1, -2, 4]
    );
    assert_eq!(
        read(Position::AfterSeq(2), vec![killed(1), killed(2), killed(3)]).0,
        [3]
    );
    assert_eq!(read(Position::AfterSeq(2), vec![killed(5)]).0, [-2, 5]);
    let end = vec![
        killed(1),
        overrun(),
        killed(5),
        again(),
        overrun(),
        killed(8),
    ];
    assert_eq!(read(Position::End, end).0, [-2, 8]);
    assert_eq!(read(Position::End, vec![again(), killed(8)]).0, [8]);
}

#[test]
fn a_record_that_does_not_fit_is_lost_and_the_next_one_fits() {
    let large = |seq| Ok(format!("6,{seq},9,-;{}\n", "x".repeat(BUFFER)));
    assert_eq!(
        read(
            Position::Start,
            vec![killed(1), large(2), large(3), killed(4)]
        ),
        (vec![1, -1, 4], vec![])
    );
}

#[test]
fn other_errors_are_told_after_what_was_read() {
    let (seen, errors) = read(
        Position::Start,
        vec![killed(1), Err(Errno::IO), killed(2), Ok(String::new())],
    );
    assert_eq!(seen, [1, 2]);
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("Read("));
    assert_eq!(errors[1], "End");
    let missing = KmsgReader::open(Path::new("/nonexistent"), Position::End, Options::default());
    assert!(matches!(
        missing,
        Err(KmsgError::Open {
            source: Errno::NOENT,
            ..
        })
    ));
}

#[test]
fn one_batch_holds_all_that_is_there_up_to_a_bound() {
    let script: Vec<_> = (1..=300).map(killed).collect();
    let mut reader =
        KmsgReader::new(Script(script.into()), Position::Start, Options::default()).unwrap();
    for expected in [256, 44, 0] {
        let mut batch = Batch::default();
        reader.drain(&mut batch).unwrap();
        assert_eq!(batch.evidence.len(), expected);
    }
}

const DEVICE: &str = "/dev/kmsg";
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether a test that needs root can run; says so by name if it cannot.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test}: needs root");
    }
    root
}

/// Runs a reader on a thread while `act` acts; returns what it read until `is_last`, within the
/// deadline.
fn watch<A>(
    act: impl FnOnce() -> A,
    is_last: impl Fn(&A, &KmsgEvidence) -> bool,
) -> (A, Vec<KmsgEvidence>) {
    let mut reader =
        KmsgReader::open(Path::new(DEVICE), Position::End, Options::default()).unwrap();
    let shutdown = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            reader.run(&shutdown, |batch| {
                for evidence in batch.evidence.drain(..) {
                    sender.send(evidence).unwrap();
                }
            })
        });
        let acted = act();
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(evidence) = receiver.recv_timeout(deadline - Instant::now()) {
            let last = is_last(&acted, &evidence);
            seen.push(evidence);
            if last {
                break;
            }
        }
        rustix::io::write(&shutdown, &1u64.to_ne_bytes()).unwrap();
        running.join().unwrap().unwrap();
        (acted, seen)
    })
}

#[test]
fn a_line_written_by_user_space_is_reported_as_forged() {
    if !is_root("a_line_written_by_user_space_is_reported_as_forged") {
        return;
    }
    let forge = || {
        let line = "<12>Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";
        fs::OpenOptions::new()
            .write(true)
            .open(DEVICE)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    };
    let is_forged = |(): &(), evidence: &_| matches!(evidence, KmsgEvidence::Forged { .. });
    let ((), seen) = watch(forge, is_forged);
    assert!(
        matches!(seen.last(), Some(KmsgEvidence::Forged { .. })),
        "{seen:?}"
    );
    let believed = |evidence: &_| matches!(evidence, KmsgEvidence::Killed(kill) if kill.tid == 1);
    assert!(!seen.iter().any(believed));
}

/// A memory cgroup of 8 MiB, gone with this value.
struct Cgroup {
    dir: PathBuf,
}

const LIMIT: u64 = 8 << 20;

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let (root, file) = if Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let cgroup = Self {
            dir: Path::new(root).join(name),
        };
        fs::create_dir(&cgroup.dir).ok()?;
        fs::write(cgroup.dir.join(file), LIMIT.to_string()).ok()?;
        Some(cgroup)
    }

    fn run(&self, script: &str) -> Child {
        let join = format!("echo $$ > {}/cgroup.procs && {script}", self.dir.display());
        Command::new("sh")
            .args(["-c", &join])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let start = Instant::now();
        while fs::remove_dir(&self.dir).is_err() && start.elapsed() < DEADLINE {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_real_kill_is_read_with_its_report() {
    if !is_root("a_real_kill_is_read_with_its_report") {
        return;
    }
    // A name that tries to end the summary early.
    let name = format!("kmsg-test-{},task_memcg=x,task=y", std::process::id());
    let Some(cgroup) = Cgroup::new(&name) else {
        eprintln!("skipped: a_real_kill_is_read_with_its_report: needs a memory cgroup");
        return;
    };
    let hog = || {
        // `tail` keeps the last line of an endless one.
        let mut child = cgroup.run("exec tail /dev/zero");
        child.wait().unwrap();
        child.id()
    };
    let is_ours = |pid: &u32, evidence: &_| matches!(evidence, KmsgEvidence::Killed(kill) if kill.tid == *pid);
    let (pid, mut seen) = watch(hog, is_ours);
    let Some(KmsgEvidence::Killed(kill)) = seen.pop_if(|last| is_ours(&pid, last)) else {
        panic!("{pid} is not in {seen:?}");
    };
    assert!(!seen.iter().any(|evidence| is_ours(&pid, evidence)));
    assert_eq!(kill.comm, Comm::new(b"tail"));
    assert_eq!(kill.group, None);
    assert!(
        kill.memory
            .anon_bytes
            .is_some_and(|bytes| bytes > LIMIT / 2)
    );
    let Some(report) = &kill.report else {
        eprintln!("a_real_kill_is_read_with_its_report: the kernel suppressed the report");
        return;
    };
    let path = format!("/{name}");
    assert!(report.complete);
    assert_eq!(report.trigger_tid, Some(kill.tid));
    assert_eq!(report.oom_memcg.as_ref(), Some(&path));
    assert_eq!(report.task_memcg.as_ref(), Some(&path));
    assert_eq!(report.victim_tid, Some(kill.tid));
    let limit = report.limit.unwrap();
    assert_eq!(limit.limit_bytes, Some(LIMIT));
    assert!(limit.usage_bytes <= LIMIT && limit.usage_bytes > LIMIT / 2);
    assert!(
        report
            .tasks
            .iter()
            .any(|task| task.tgid == kill.tid && task.comm == kill.comm)
    );
}
