//! A thread that alerts wait for, and the end of the agent does not.
//!
//! It runs ahead of ordinary threads where that is allowed. What it reads may be on a disk that no longer
//! answers: then it is left behind, and ends with the process. So it must not hold what has to be closed.

use std::{
    convert::Infallible,
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::realtime;

/// How long its end is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The running thread.
#[derive(Debug)]
pub(super) struct Worker {
    /// Nothing comes: the other end is dropped with the thread's work.
    ended: Receiver<Infallible>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts it.
    pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (running, ended) = channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            let _running = running;
            if let Err(note) = realtime::favour_thread() {
                tracing::debug!("{note}");
            }
            run();
        })?;
        Ok(Self { ended, thread })
    }

    /// Waits for the end of it that it has been told to come to, but not for long. `what` it is, for the
    /// log.
    pub(super) fn end(self, what: &str) {
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "{what} does not end: something that it reads does not answer; left behind"
            );
        } else if self.thread.join().is_err() {
            tracing::error!("{what} had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn it_alone_runs_ahead_where_that_is_allowed() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let (tell, told) = channel();
        let worker = Worker::start("ahead", move || tell.send(nice()).unwrap()).unwrap();
        let during = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!([-15, before].contains(&during), "{during}");
        assert_eq!(nice(), before);
        worker.end("it");
    }

    #[test]
    fn what_has_ended_or_panicked_is_not_waited_for() {
        let began = Instant::now();
        Worker::start("ends", || {}).unwrap().end("it");
        Worker::start("panics", || panic!("on purpose"))
            .unwrap()
            .end("it");
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn what_is_stuck_is_left_behind() {
        let (go, stuck) = channel::<()>();
        let (tell, told) = channel();
        let run = move || {
            let _ = stuck.recv();
            tell.send(()).unwrap();
        };
        Worker::start("stuck", run).unwrap().end("it");
        drop(go);
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
