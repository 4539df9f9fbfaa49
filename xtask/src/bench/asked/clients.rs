//! Clients of the stream of events: some read as fast as they can, some never.
//!
//! Reads sockets; emits how many different kills each client got. Refuses to take an event that came twice for
//! two.

use std::{
    collections::HashSet,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// In HTTP/1.0, for an answer in one piece.
const REQUEST: &[u8] = b"GET /v1/events/stream?kind=OomKill HTTP/1.0\r\nHost: agent\r\n\r\n";

/// How often readers look whether they are to end.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Clients that have subscribed.
pub(super) struct Clients(Vec<UnixStream>);

impl Clients {
    /// Connects and waits for the head of each answer: from then on no kill is to be missed.
    pub(super) fn connect(socket: &Path, count: usize) -> Result<Self> {
        let connect = |_| {
            let mut stream = UnixStream::connect(socket).context("connect to the agent")?;
            stream.write_all(REQUEST)?;
            head(&mut stream)?;
            Ok(stream)
        };
        (0..count).map(connect).collect::<Result<_>>().map(Self)
    }

    /// Reads until each has so many kills, or until it is told to end.
    pub(super) fn read(self, expected: usize) -> Result<Reading> {
        for stream in &self.0 {
            stream.set_nonblocking(true)?;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let got = Arc::new(Mutex::new(Vec::new()));
        let (of_thread, into) = (ended.clone(), got.clone());
        let thread = thread::spawn(move || {
            let counts = read(self.0, expected, &of_thread)?;
            *into.lock().unwrap_or_else(PoisonError::into_inner) = counts;
            Ok(())
        });
        Ok(Reading { ended, got, thread })
    }
}

/// Byte by byte: what follows the head is the clients' own.
fn head(stream: &mut UnixStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no head")?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    ensure!(head.get(9..12) == Some("200"), "no stream: {head}");
    Ok(())
}

/// Clients that read.
pub(super) struct Reading {
    ended: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<usize>>>,
    thread: JoinHandle<Result<()>>,
}

impl Reading {
    /// How many different kills each got, waiting for so long at most.
    pub(super) fn finish(self, at_most: Duration) -> Result<Vec<usize>> {
        let end = Instant::now() + at_most;
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the readers have panicked"))??;
        Ok(std::mem::take(
            &mut self.got.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// What one client has read.
#[derive(Default)]
struct Seen {
    partial: Vec<u8>,
    kills: HashSet<Vec<u8>>,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.kills.extend(kill(&self.partial));
                self.partial.clear();
            }
        }
    }
}

/// The id of the kill in this line.
fn kill(line: &[u8]) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(line).ok()?;
    let event = line.strip_prefix("data: {\"kind\":\"OomKill\",")?;
    let (_, rest) = event.split_once("\"id\":\"")?;
    let (id, _) = rest.split_once('"')?;
    Some(id.into())
}

fn read(mut streams: Vec<UnixStream>, expected: usize, ended: &AtomicBool) -> Result<Vec<usize>> {
    let mut seen: Vec<Seen> = streams.iter().map(|_| Seen::default()).collect();
    let mut buffer = vec![0; 64 << 10];
    while !ended.load(Ordering::Relaxed) && seen.iter().any(|it| it.kills.len() < expected) {
        let mut waits: Vec<_> = streams
            .iter()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        if !matches!(poll(&mut waits, Some(&LOOK)), Ok(_) | Err(Errno::INTR)) {
            break;
        }
        let ready: Vec<_> = waits.iter().map(|it| !it.revents().is_empty()).collect();
        for ((stream, seen), _) in (streams.iter_mut().zip(&mut seen))
            .zip(ready)
            .filter(|it| it.1)
        {
            match stream.read(&mut buffer) {
                Ok(0) => return Err(anyhow!("the agent has ended a stream")),
                Ok(len) => seen.take(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a stream"),
            }
        }
    }
    Ok(seen.iter().map(|it| it.kills.len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_once_however_it_comes() {
        let mut seen = Seen::default();
        let kill = b"id: 4\nevent: OomKill\ndata: {\"kind\":\"OomKill\",\"x\":1,\"id\":\"a-1\",\"y\":2}\n\n";
        for byte in kill.iter().chain(kill) {
            seen.take(std::slice::from_ref(byte));
        }
        seen.take(b"data: {\"kind\":\"OomInstance\",\"id\":\"b\"}\n: alive\n\n");
        assert_eq!(seen.kills, HashSet::from([b"a-1".to_vec()]));
    }
}
