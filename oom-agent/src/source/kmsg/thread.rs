//! The kernel log's reader on a thread of its own, opened again when it fails.
//!
//! Emits batches of evidence and the state of the source, through a function that must not wait.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::reader::KmsgReader;
use crate::evidence::{Evidence, Feed, KmsgEvidence};

/// Path of the kernel log.
pub const KMSG: &str = "/dev/kmsg";

/// A failed log is opened again after this many seconds.
const RETRY_S: i64 = 1;

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
    let mut abandoned = 0;
    loop {
        submit(vec![state(true)]);
        let outcome = reader.run(shutdown, |batch| {
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
        loop {
            tracing::error!(
                "kernel log: {}; opening it again",
                crate::error::chain(&error)
            );
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
