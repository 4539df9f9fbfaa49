//! All hosts and boots of one input.
//!
//! Reads [`Head`]s; hands each to the stream of its host and boot, so that their reports do not mix.
//! A clock that jumps back, or the banner of a kernel, ends a stream and begins the next. Holds a few
//! streams at once: the one unused for longest is finished to make room.

use std::ops::ControlFlow;

use super::{
    Options, Sink, Summary,
    format::Head,
    stream::{Key, Numbered, Stream},
};

/// Hosts and boots at once.
const MAX_STREAMS: usize = 64;

/// What every kernel says first (`linux_banner`, `init/version.c`).
const BANNER: &[u8] = b"Linux version ";

pub(super) struct Streams<'o> {
    options: &'o Options,
    /// Begins the ids where the boot is not known.
    prefix: String,
    /// Whether another boot than the first has been seen.
    later_boot: bool,
    open: Vec<Stream>,
    /// Where the stream of the last line is.
    last: usize,
}

impl<'o> Streams<'o> {
    pub(super) fn new(options: &'o Options, prefix: String) -> Self {
        Self {
            options,
            prefix,
            later_boot: false,
            open: Vec::new(),
            last: 0,
        }
    }

    /// Takes a line. `candidate` tells whether it has the words that begin something: else a host that
    /// has not been seen stays unseen. Tells for how many lines from here on every line matters;
    /// `None` if this one changes nothing about that.
    pub(super) fn push(
        &mut self,
        head: &Head<'_>,
        line: Numbered<'_>,
        candidate: impl FnOnce() -> bool,
        summary: &mut Summary,
        sink: &mut impl Sink,
    ) -> ControlFlow<(), Option<u64>> {
        /// A report may be interrupted by so many lines that are none of its own.
        const OPEN: u64 = 4096;
        /// What the kernel prints behind a line that stands alone, and fragments of it.
        const ALONE: u64 = 64;
        let goes_on = |stream: &mut Stream| {
            let banner = !head.foreign && head.text.starts_with(BANNER);
            !banner && stream.advance(head, line.number)
        };
        let at = match self.find(head) {
            Some(at) if goes_on(&mut self.open[at]) => at,
            Some(at) => {
                self.end(at, summary, sink)?;
                self.later_boot = true;
                self.begin(head, line.number, summary, sink)?
            }
            None if candidate() => self.begin(head, line.number, summary, sink)?,
            None => return ControlFlow::Continue(None),
        };
        self.last = at;
        let stream = &mut self.open[at];
        let told = stream.push(head, line, sink)?;
        let open = self.open.iter().any(Stream::is_open);
        ControlFlow::Continue(told.then_some(if open { OPEN } else { ALONE }))
    }

    /// A line of a record that is no message of its own.
    pub(super) fn pass_over(&mut self) {
        if let Some(stream) = self.open.get_mut(self.last) {
            stream.pass_over();
        }
    }

    /// The journal says that what follows is of another boot.
    pub(super) fn reboot(
        &mut self,
        summary: &mut Summary,
        sink: &mut impl Sink,
    ) -> ControlFlow<()> {
        self.later_boot |= !self.open.is_empty();
        while let Some(at) = self.open.len().checked_sub(1) {
            self.end(at, summary, sink)?;
        }
        ControlFlow::Continue(())
    }

    fn find(&self, head: &Head<'_>) -> Option<usize> {
        let is_it = |stream: &Stream| {
            stream.key.boot == head.boot && stream.key.host.as_deref() == head.host
        };
        if self.open.get(self.last).is_some_and(is_it) {
            return Some(self.last);
        }
        self.open.iter().position(is_it)
    }

    fn begin(
        &mut self,
        head: &Head<'_>,
        line: u64,
        summary: &mut Summary,
        sink: &mut impl Sink,
    ) -> ControlFlow<(), usize> {
        if self.open.len() == MAX_STREAMS
            && let Some(oldest) = (0..MAX_STREAMS).min_by_key(|&at| self.open[at].used)
        {
            self.end(oldest, summary, sink)?;
        }
        let key = Key {
            host: head.host.map(Box::from),
            boot: head.boot,
        };
        let mut stream = Stream::new(key, &self.prefix, !self.later_boot, self.options);
        stream.advance(head, line);
        self.open.push(stream);
        ControlFlow::Continue(self.open.len() - 1)
    }

    fn end(&mut self, at: usize, summary: &mut Summary, sink: &mut impl Sink) -> ControlFlow<()> {
        self.open.swap_remove(at).finish(summary, sink)
    }

    /// Nothing follows.
    pub(super) fn finish(mut self, summary: &mut Summary, sink: &mut impl Sink) -> ControlFlow<()> {
        while !self.open.is_empty() {
            self.end(0, summary, sink)?;
        }
        ControlFlow::Continue(())
    }
}
