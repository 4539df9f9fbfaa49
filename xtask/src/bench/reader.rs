//! Reads a pipe and stamps every line with the moment at which it was there.
//!
//! Two threads wait, each on a CPU of its own and in real time where allowed: a thread that makes an
//! OOM kill keeps its CPU for milliseconds, and one waiter alone would measure that. Emits
//! [`Line`]s; decoding them waits until the clock no longer matters. Refuses nothing.

use std::{
    mem,
    process::ChildStdout,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionbio, read},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// One line and when it was read, on `CLOCK_MONOTONIC`.
pub(super) struct Line {
    pub seen_ns: u64,
    pub text: Vec<u8>,
}

/// Starts reading; the lines end with the pipe.
pub(super) fn spawn(pipe: ChildStdout) -> Result<Receiver<Line>> {
    ioctl_fionbio(&pipe, true).context("the agent's stdout")?;
    let (lines, receiver) = mpsc::channel();
    let pipe = Arc::new(pipe);
    let reader = Arc::new(Mutex::new(Reader {
        partial: Vec::new(),
        lines,
    }));
    for cpu in two_cpus()? {
        let (pipe, reader) = (pipe.clone(), reader.clone());
        thread::spawn(move || {
            if let Err(error) = hold(cpu) {
                eprintln!("bench: figures include the reader's own waiting: {error:#}");
            }
            wait(&pipe, &reader);
        });
    }
    Ok(receiver)
}

/// What one waiter reads, the other may have begun.
struct Reader {
    partial: Vec<u8>,
    lines: Sender<Line>,
}

fn wait(pipe: &ChildStdout, reader: &Mutex<Reader>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        if !matches!(poll(&mut fds, None), Ok(_) | Err(Errno::INTR)) {
            return;
        }
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        match read(pipe, &mut buffer) {
            Ok(0) => return,
            Ok(len) => reader.take(&buffer[..len], monotonic_ns()),
            // The other waiter was first.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

impl Reader {
    fn take(&mut self, bytes: &[u8], seen_ns: u64) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let text = mem::take(&mut self.partial);
                // Nobody listens any more once the bench has what it wants.
                let _ = self.lines.send(Line { seen_ns, text });
            }
        }
    }
}

/// The first and the last CPU that this process may use; only one where there is one.
fn two_cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("CPUs")?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    Ok(cpus.next().into_iter().chain(cpus.next_back()).collect())
}

/// Binds this thread to a CPU and lets it run before ordinary ones.
fn hold(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("not on CPU {cpu}"))?;
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo)
        .map_err(|error| anyhow::anyhow!("no real-time priority: {error:?}"))
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // This clock starts at 0 and is never negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_of_its_last_byte() {
        let (lines, receiver) = mpsc::channel();
        let mut reader = Reader {
            partial: Vec::new(),
            lines,
        };
        reader.take(b"a\nb", 1);
        reader.take(b"c\nd\ne", 2);
        let got: Vec<_> = receiver
            .try_iter()
            .map(|line| (line.seen_ns, line.text))
            .collect();
        assert_eq!(
            got,
            [
                (1, b"a\n".to_vec()),
                (2, b"bc\n".to_vec()),
                (2, b"d\n".to_vec())
            ]
        );
    }
}
