//! The kernel log's reader on a thread of its own, opened again when it fails.
//!
//! Emits batches of evidence and the state of the source, through a function that must not wait. A log that stays
//! broken is said when it breaks, when it breaks otherwise, and when it is read again.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::reader::KmsgReader;
use crate::{
    error::chain,
    evidence::{Evidence, Feed, KmsgEvidence},
};

/// Path of the kernel log.
pub const KMSG: &str = "/dev/kmsg";

/// A failed log is opened again after this many seconds.
const RETRY_S: i64 = 1;

/// A log that could be read for so long was not out, whether or not it had something to tell.
const LASTS: Duration = Duration::from_secs(10);

/// A running reader.
#[derive(Debug)]
pub struct KmsgThread {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl KmsgThread {
    /// Starts reading; `submit` gets the evidence.
    pub fn start(
        reader: KmsgReader,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let shutdown = stop.clone();
        let thread = thread::Builder::new()
            .name("kmsg".into())
            .spawn(move || read(reader, &shutdown, submit))?;
        Ok(Self { stop, thread })
    }

    /// Stops it, after it has delivered what can be read now.
    pub fn stop(self) {
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::error!("cannot stop the kernel log's reader: {error}");
            return;
        }
        if self.thread.join().is_err() {
            tracing::error!("the kernel log's reader had panicked");
        }
    }
}

fn read(mut reader: KmsgReader, shutdown: &OwnedFd, submit: impl Fn(Vec<Evidence>)) {
    let state = |up| Evidence::SourceState {
        source: Feed::Kmsg,
        up,
    };
    let (mut abandoned, mut outage) = (0, Outage::default());
    loop {
        submit(vec![state(true)]);
        let began = Instant::now();
        let outcome = reader.run(shutdown, |batch| {
            outage.over();
            let mut evidence: Vec<_> = batch.evidence.drain(..).map(Evidence::Kmsg).collect();
            let reports = batch.abandoned_reports - abandoned;
            if reports > 0 {
                abandoned = batch.abandoned_reports;
                evidence.push(Evidence::Kmsg(KmsgEvidence::Abandoned { reports }));
            }
            evidence.extend(
                batch
                    .read_through
                    .map(|through| Evidence::LogRead { through }),
            );
            submit(evidence);
        });
        let Err(mut error) = outcome else { return };
        submit(vec![state(false)]);
        if began.elapsed() > LASTS {
            outage.over();
        }
        loop {
            outage.say(&chain(&error));
            if stopped(shutdown) {
                return;
            }
            match reader.reopen(Path::new(KMSG)) {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
    }
}

/// A time during which the log cannot be read. Each reason is said once: it is tried every second.
#[derive(Debug, Default)]
struct Outage {
    why: Option<String>,
}

impl Outage {
    /// Says why, if that is news; tells whether it was.
    fn say(&mut self, why: &str) -> bool {
        let is_new = self.why.as_deref() != Some(why);
        if is_new {
            tracing::error!("kernel log: {why}; it is opened again each second");
            self.why = Some(why.to_owned());
        }
        is_new
    }

    /// Something has been read; tells whether that is news.
    fn over(&mut self) -> bool {
        let was_out = self.why.take().is_some();
        if was_out {
            tracing::warn!("kernel log: read again");
        }
        was_out
    }
}

/// Waits before the next attempt; true if it is time to stop.
fn stopped(stop: &OwnedFd) -> bool {
    let timeout = Timespec {
        tv_sec: RETRY_S,
        tv_nsec: 0,
    };
    matches!(
        poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&timeout)),
        Ok(1..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_when_it_changes() {
        let mut outage = Outage::default();
        assert!(!outage.over());
        let said = ["EPERM", "EPERM", "EMFILE", "EPERM", "EPERM"].map(|why| outage.say(why));
        assert_eq!(said, [true, false, true, true, false]);
        assert!(outage.over() && !outage.over());
        assert!(outage.say("EPERM"));
    }
}
