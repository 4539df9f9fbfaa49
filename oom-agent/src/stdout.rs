//! Events on standard output: one JSON object per line, or text for people.
//!
//! Two lanes. An event that a pipe can take at once, whole, is written by the detection thread
//! itself: waking another thread costs more than the write, and in a storm that thread may find its
//! CPU held by the task that kills. Everything else goes through a queue to a thread that may wait: a
//! reader that does not read holds up that thread and nothing else. A reader that has gone is said
//! once; detection goes on.

use std::{
    io::{self, IoSlice, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::io::{Errno, ReadWriteFlags};

use crate::{
    event::Event,
    hub::{Output, Pushed, Queue, Queued, queue},
    render::{
        container, end,
        text::{self, TextStyle},
    },
};

/// A pipe takes this much whole or not at all (`PIPE_BUF`, pipe(7)).
const PIPE_BUF: usize = 4096;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The detection threads' end.
struct Lane {
    renderer: Renderer,
    line: Vec<u8>,
    queue: Queue,
    backlog: Arc<Backlog>,
    /// Whether the descriptor can be asked to take a write at once or refuse it.
    direct: bool,
}

/// What has not been written.
#[derive(Debug, Default)]
struct Backlog {
    /// Events in the queue or being written from it: while there are any, nothing may overtake them.
    pending: AtomicU64,
    /// Events that will never be written: no room in the queue, or the reader has gone.
    lost: AtomicU64,
}

/// The thread that may wait.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    backlog: Arc<Backlog>,
}

impl Writer {
    /// Events that will never be written, now and later.
    pub fn unwritten(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let backlog = self.backlog.clone();
        move || backlog.lost.load(Ordering::Acquire)
    }

    /// Waits until everything is written, at most this long: a reader that does not read must not keep
    /// the agent from ending. Gives the number of events that were not written.
    #[must_use]
    pub fn finish(self, at_most: Duration) -> u64 {
        let deadline = Instant::now() + at_most;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let backlog = &self.backlog;
        let unwritten =
            backlog.lost.load(Ordering::Acquire) + backlog.pending.load(Ordering::Acquire);
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the output thread had panicked");
        }
        unwritten
    }
}

/// Starts the output. Its thread ends once the hub has gone and everything is written.
pub fn spawn(format: Format) -> io::Result<(impl Output + 'static, Writer)> {
    let (sender, receiver) = queue();
    let renderer = Renderer::new(format);
    let lane = Lane {
        renderer,
        line: Vec::with_capacity(2 * PIPE_BUF),
        queue: sender,
        backlog: Arc::default(),
        direct: is_pipe(),
    };
    let (backlog, of_thread) = (lane.backlog.clone(), lane.backlog.clone());
    let thread = thread::Builder::new()
        .name("stdout".into())
        .spawn(move || write_queued(&receiver, renderer, &of_thread))?;
    Ok((lane, Writer { thread, backlog }))
}

impl Output for Lane {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        if self.direct && self.backlog.pending.load(Ordering::Acquire) == 0 {
            self.line.clear();
            self.renderer.render(event, &mut self.line);
            if self.line.len() <= PIPE_BUF && self.write_at_once() {
                return true;
            }
        }
        self.backlog.pending.fetch_add(1, Ordering::AcqRel);
        if self.queue.push(event) != Pushed::Taken {
            self.backlog.lose_one();
        }
        // Never gone: what is not written is counted to the end.
        true
    }
}

impl Backlog {
    fn lose_one(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lane {
    /// True if the whole line has been taken. A reader that has gone is left to the queue's thread.
    fn write_at_once(&mut self) -> bool {
        let line = [IoSlice::new(&self.line)];
        // An offset of -1 means the current position: a pipe has no other.
        let written = rustix::io::pwritev2(
            rustix::stdio::stdout(),
            &line,
            u64::MAX,
            ReadWriteFlags::NOWAIT,
        );
        match written {
            Ok(written) => written == self.line.len(),
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(error) => {
                self.direct = false;
                // Of a reader that has gone the thread will say so.
                if error != Errno::PIPE {
                    tracing::info!(
                        "slower than it could be: standard output takes no event at once ({error})"
                    );
                }
                false
            }
        }
    }
}

fn is_pipe() -> bool {
    rustix::fs::fstat(rustix::stdio::stdout()).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
    })
}

fn write_queued(queued: &Queued, renderer: Renderer, backlog: &Backlog) {
    let mut line = Vec::with_capacity(2 * PIPE_BUF);
    let mut gone = false;
    while let Some(event) = queued.next() {
        if gone {
            backlog.lose_one();
            continue;
        }
        line.clear();
        renderer.render(&event, &mut line);
        match write_all(&line) {
            Ok(()) => {
                backlog.pending.fetch_sub(1, Ordering::AcqRel);
            }
            Err(error) => {
                tracing::warn!(
                    "standard output is gone ({error}); events are no longer written there"
                );
                gone = true;
                backlog.lose_one();
            }
        }
    }
}

/// Events to bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renderer {
    format: Format,
    style: TextStyle,
}

impl Renderer {
    /// With colours if standard output is a terminal that wants them.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            style: TextStyle {
                colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
                ..TextStyle::default()
            },
        }
    }

    /// As text without colours.
    #[cfg(feature = "otlp")]
    pub(crate) fn plain() -> Self {
        Self {
            format: Format::Text,
            style: TextStyle::default(),
        }
    }

    /// Appends an event, with the end of its line.
    pub(crate) fn render(self, event: &Event, line: &mut Vec<u8>) {
        match self.format {
            Format::Text => {
                let mut text = String::new();
                match event {
                    Event::OomKill(kill) => text::kill(kill, self.style, &mut text),
                    Event::OomInstance(report) => text::instance(report, self.style, &mut text),
                    Event::ContainerCreation(created) => {
                        container::created(created, self.style, &mut text);
                    }
                    Event::ContainerDeletion(deleted) => {
                        container::deleted(deleted, self.style, &mut text);
                    }
                    Event::VictimEnd(ended) => end::ended(ended, self.style, &mut text),
                    Event::OomStuck(stuck) => end::stuck(stuck, self.style, &mut text),
                }
                line.extend_from_slice(text.as_bytes());
            }
            Format::Json => {
                let before = line.len();
                if let Err(error) = serde_json::to_writer(&mut *line, event) {
                    tracing::error!("cannot write an event as JSON: {error}");
                    line.truncate(before);
                    return;
                }
                line.push(b'\n');
            }
        }
    }
}

/// Straight to the descriptor: the library's line buffer would copy every event once more.
fn write_all(mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Somebody has made our standard output non-blocking.
fn wait_writable() -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = rustix::stdio::stdout();
    match poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
