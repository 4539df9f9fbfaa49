//! `/dev/kmsg` itself.
//!
//! Reads one record per `read(2)` without blocking; emits everything readable as one [`Batch`], so
//! that the consumer wakes once. Survives being overrun (EPIPE: reading goes on at the oldest record,
//! and the gap in the numbers is counted). Refuses to hide any other error: the caller decides when
//! to open it again. Runs on a thread of its own, for poll(2) on this device is all that it needs.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{decode::Decoder, record::Record};
use crate::{clock::Now, evidence::KmsgEvidence};

/// What the kernel itself uses at most (`CONSOLE_EXT_LOG_MAX`, later `PRINTK_MESSAGE_MAX`).
const BUFFER: usize = 8192;

/// A record larger than this is not believed.
const MAX_BUFFER: usize = 1 << 20;

/// Evidence in one batch: bounds memory while a long log is read from its start.
const MAX_EVIDENCE: usize = 256;

/// Records in one batch: bounds the time until a shutdown is seen while the log is flooded.
const MAX_RECORDS: usize = 4096;

/// Records that say nothing of OOM are told to have been read in portions of this many.
const TELL: u64 = 1000;

/// Longer than what is under way in the log may be silent.
const SILENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 200_000_000,
};

/// Batches that are still read after a shutdown, if there are so many.
const LAST_TURNS: usize = 64;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// With records that are written from now on.
    End,
    /// With the oldest record that the kernel still has.
    Start,
    /// After the record of this number **of this boot**; what is missing after it counts as lost.
    AfterSeq(u64),
}

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Take user space's records for the kernel's: for tests only.
    pub accept_forged: bool,
}

/// What one wake-up gave.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of the log.
    pub evidence: Vec<KmsgEvidence>,
    /// Since the reader was opened: reports that ended without the line that closes them.
    pub abandoned_reports: u64,
    /// [`Decoder::read_through`].
    pub read_through: Option<u64>,
    /// There was nothing more to read.
    pub is_at_the_end: bool,
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum KmsgError {
    /// Not there, or not allowed (`dmesg_restrict` asks for `CAP_SYSLOG`).
    #[error("cannot open {}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// `read(2)` failed.
    #[error("cannot read the kernel log")]
    Read(#[source] Errno),
    /// `poll(2)` failed.
    #[error("cannot wait for the kernel log")]
    Wait(#[source] Errno),
    /// `read(2)` returned nothing: this is no kernel log.
    #[error("the kernel log has an end")]
    End,
}

/// Something that returns one record per read: the device, or a test.
pub trait RecordSource {
    /// As `read(2)` on a non-blocking `/dev/kmsg`.
    fn read_record(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl RecordSource for OwnedFd {
    fn read_record(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&*self, buffer)
    }
}

/// Reads the kernel log.
#[derive(Debug)]
pub struct KmsgReader<S = OwnedFd> {
    source: S,
    buffer: Vec<u8>,
    decoder: Decoder,
}

impl KmsgReader {
    /// Opens the device at `path`.
    pub fn open(path: &Path, position: Position, options: Options) -> Result<Self, KmsgError> {
        Self::new(open(path)?, position, options)
    }

    /// Opens the device once more after a failure. Records that are known are skipped, and what is
    /// missing after them is counted.
    pub fn reopen(&mut self, path: &Path) -> Result<(), KmsgError> {
        self.source = open(path)?;
        Ok(())
    }

    /// Reads and delivers until `shutdown` (an eventfd, or any descriptor) becomes readable, and what
    /// can be read then.
    ///
    /// `deliver` may take the evidence out of the batch; what it leaves is dropped. A batch without any
    /// tells how far the log has been read.
    pub fn run(
        &mut self,
        shutdown: impl AsFd,
        mut deliver: impl FnMut(&mut Batch),
    ) -> Result<(), KmsgError> {
        let mut batch = Batch::default();
        let mut last_turns = LAST_TURNS;
        let mut told = self.read_through().unwrap_or(0);
        // What is under way may end with a silence, of which no record tells.
        let mut held_back = false;
        while last_turns > 0 {
            let patience = held_back.then_some(SILENCE);
            if !self.wait(&shutdown, patience.as_ref())? {
                last_turns = if self.is_readable() {
                    last_turns - 1
                } else {
                    0
                };
            }
            batch.evidence.clear();
            let result = self.drain(&mut batch);
            let now_ns = Now::read().monotonic_ns;
            let over = held_back && !self.decoder.is_held_back(now_ns);
            let far = batch.read_through.is_some_and(|seq| seq >= told + TELL);
            if far || over || !batch.evidence.is_empty() {
                told = batch.read_through.unwrap_or(told);
                held_back = self.decoder.is_held_back(now_ns);
                deliver(&mut batch);
            }
            result?;
        }
        Ok(())
    }

    /// [`Decoder::read_through`].
    #[must_use]
    pub fn read_through(&self) -> Option<u64> {
        self.decoder.read_through(Now::read().monotonic_ns)
    }

    /// Whether a record can be read now.
    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.source, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// Waits for records, but no longer than `patience`; false if it is time to stop.
    fn wait(&self, shutdown: &impl AsFd, patience: Option<&Timespec>) -> Result<bool, KmsgError> {
        let mut fds = [
            PollFd::new(&self.source, PollFlags::IN),
            PollFd::new(shutdown, PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, patience) {
                // An overrun shows as an error condition here and as EPIPE in the read.
                Ok(_) => return Ok(fds[1].revents().is_empty()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(KmsgError::Wait(errno)),
            }
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd, KmsgError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|source| KmsgError::Open {
        path: path.to_owned(),
        source,
    })
}

impl<S: RecordSource> KmsgReader<S> {
    /// Begins at `position` of a source that stands at its oldest record.
    pub fn new(source: S, position: Position, options: Options) -> Result<Self, KmsgError> {
        let page_size = rustix::param::page_size() as u64;
        let decoder = Decoder::new(page_size, options.accept_forged);
        let mut reader = Self {
            source,
            buffer: vec![0; BUFFER],
            decoder,
        };
        match position {
            Position::Start => {}
            Position::AfterSeq(seq) => reader.decoder.skip_through(seq),
            // Read past the old records rather than seek: then the number of the last one is known,
            // and an overrun before the first new one can be counted.
            Position::End => {
                let mut last = None;
                while let Some(len) = reader.read()? {
                    last = Record::parse(&reader.buffer[..len]).map_or(last, |r| Some(r.seq));
                }
                if let Some(seq) = last {
                    reader.decoder.skip_through(seq);
                }
            }
        }
        Ok(reader)
    }

    /// Adds to `batch` what can be read now. A batch that is full leaves the rest for the next call.
    /// On an error the batch holds what was read before it.
    pub fn drain(&mut self, batch: &mut Batch) -> Result<(), KmsgError> {
        let mut result = Ok(());
        batch.is_at_the_end = false;
        for _ in 0..MAX_RECORDS {
            if batch.evidence.len() >= MAX_EVIDENCE {
                break;
            }
            match self.read() {
                Ok(Some(len)) => {
                    let read_ns = Now::read().monotonic_ns;
                    let record = &self.buffer[..len];
                    self.decoder.push(record, read_ns, &mut batch.evidence);
                }
                Ok(None) => {
                    batch.is_at_the_end = true;
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        batch.abandoned_reports = self.decoder.abandoned_reports();
        batch.read_through = self.decoder.read_through(Now::read().monotonic_ns);
        result
    }

    /// Length of the next record in the buffer; `None` if there is none now.
    fn read(&mut self) -> Result<Option<usize>, KmsgError> {
        loop {
            match self.source.read_record(&mut self.buffer) {
                Ok(0) => return Err(KmsgError::End),
                Ok(len) => return Ok(Some(len)),
                Err(Errno::AGAIN) => return Ok(None),
                // Overrun: the next read returns the oldest record, and its number tells the gap.
                Err(Errno::PIPE | Errno::INTR) => {}
                // The kernel has moved past the record that did not fit; its number will be missing.
                Err(Errno::INVAL) if self.buffer.len() < MAX_BUFFER => {
                    self.buffer.resize(self.buffer.len() * 2, 0);
                }
                Err(errno) => return Err(KmsgError::Read(errno)),
            }
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
