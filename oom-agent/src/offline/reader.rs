//! Lines in, events out: which lines are looked at, and in which form.
//!
//! Reads blocks of lines; between reports only lines with certain words are looked at, while a report
//! is open every line is. A line that its form does not take is tried in every other; one that looks
//! like the OOM killer's and that nothing takes is counted, and handed to the sink. Refuses nothing.

use std::{
    io::Read,
    ops::{ControlFlow, Range},
};

use super::{
    OddLine, Oddity, Options, ReadError, Sink, Summary,
    blocks::{Blocks, MAX_LINE, MORE_BYTES, MORE_LINES, first_of},
    candidates::Candidates,
    detect,
    format::{self, BootId, Calendar, Format, Head},
    stream::Numbered,
    streams::Streams,
};

/// What is asked for the form of the lines, and makes ids unique.
const BEGINNING: usize = 64 << 10;

/// Forms that a line is tried in which is not of the input's own.
const OTHERS: [Format; 5] = [
    Format::Kmsg,
    Format::Json,
    Format::Syslog,
    Format::Dmesg,
    Format::Console,
];

pub(super) fn read(
    input: impl Read,
    options: &Options,
    sink: &mut impl Sink,
) -> Result<Summary, ReadError> {
    let mut blocks = Blocks::new(input);
    let beginning = blocks.beginning(BEGINNING);
    let mut reader = Reader::new(beginning, options, sink);
    let mut flow = ControlFlow::Continue(());
    while flow.is_continue()
        && let Some(block) = blocks.next()
    {
        flow = reader.block(block);
    }
    let mut summary = reader.finish(flow);
    summary.bytes = blocks.bytes;
    summary.cut_lines = blocks.cut_lines;
    match blocks.failure {
        None => Ok(summary),
        Some(source) => Err(ReadError {
            summary: Box::new(summary),
            source,
        }),
    }
}

/// The state between blocks.
struct Reader<'a, S> {
    format: Format,
    /// Of JSON objects that stand on several lines each, the lines so far.
    object: Option<Vec<u8>>,
    /// Objects so far.
    objects: u64,
    calendar: Calendar,
    candidates: Candidates,
    streams: Streams<'a>,
    /// What the journal's text said of the boot that follows.
    boot: Option<BootId>,
    /// Up to which line every line is looked at.
    attentive_to: u64,
    summary: Summary,
    sink: &'a mut S,
}

impl<'a, S: Sink> Reader<'a, S> {
    fn new(beginning: &[u8], options: &'a Options, sink: &'a mut S) -> Self {
        let calendar = Calendar::new(options);
        let format = options
            .format
            .unwrap_or_else(|| detect::format(beginning, &calendar));
        let json = format == Format::Json;
        Self {
            format,
            object: (json && detect::is_pretty(beginning)).then(Vec::new),
            objects: 0,
            calendar,
            candidates: Candidates::new(json),
            streams: Streams::new(options, format!("log{:016x}", fnv1a(beginning))),
            boot: None,
            attentive_to: 0,
            summary: Summary {
                format: Some(format),
                ..Summary::default()
            },
            sink,
        }
    }

    /// Takes a block of whole lines.
    fn block(&mut self, block: &[u8]) -> ControlFlow<()> {
        let mut at = 0;
        while at < block.len() {
            at = if self.object.is_some() {
                self.object_line(block, at)?
            } else if self.summary.lines < self.attentive_to {
                self.line(block, at)?
            } else if let Some(candidate) = self.candidate(block, at) {
                self.summary.lines += newlines(&block[at..candidate]);
                self.attend(1);
                self.line(block, candidate)?
            } else {
                self.summary.lines += newlines(&block[at..]);
                self.summary.lines += u64::from(!block.ends_with(b"\n"));
                block.len()
            };
        }
        ControlFlow::Continue(())
    }

    /// The line to look at next: the first with a candidate, or the one that it belongs to.
    fn candidate(&self, block: &[u8], mut from: usize) -> Option<usize> {
        let first = from;
        loop {
            let (begin, end) = self.candidates.find(block, from)?;
            let line =
                memchr::memrchr(b'\n', &block[first..begin]).map_or(first, |at| first + at + 1);
            if end - line <= MAX_LINE {
                let before = (block[line] == b' ').then(|| first_of(&block[first..], line - first));
                return Some(before.flatten().map_or(line, |at| first + at));
            }
            // Beyond where the line is cut.
            from = end + memchr::memchr(b'\n', &block[end..])?;
        }
    }

    /// So many lines from here on are looked at.
    fn attend(&mut self, lines: u64) {
        self.attentive_to = self.attentive_to.max(self.summary.lines + lines);
    }

    /// Takes the line at `at` with those that go on with it, and tells where the next begins.
    fn line(&mut self, block: &[u8], at: usize) -> ControlFlow<(), usize> {
        let (line, mut next) = line_at(block, at);
        self.summary.lines += 1;
        let number = self.summary.lines;
        let mut head = Head::default();
        if self.head(&block[line.clone()], &mut head).is_none() {
            self.without_head(number, &block[line])?;
            return ControlFlow::Continue(next);
        }
        let mut whole = line;
        for _ in 0..MORE_LINES {
            if block.get(next) != Some(&b' ') || next - at > MORE_BYTES {
                break;
            }
            let (more, after) = line_at(block, next);
            if !head.extend(&block[more.clone()]) {
                break;
            }
            self.summary.lines += 1;
            whole.end = more.end;
            next = after;
        }
        self.message(number, &mut head, &block[whole])?;
        ControlFlow::Continue(next)
    }

    fn message(&mut self, number: u64, head: &mut Head<'_>, text: &[u8]) -> ControlFlow<()> {
        head.unescape();
        let line = Numbered {
            line: match self.object {
                Some(_) => self.summary.lines,
                None => number,
            },
            number,
            text,
        };
        let candidates = &self.candidates;
        let attend = self.streams.push(
            head,
            line,
            || candidates.looks_like_oom(&head.text),
            &mut self.summary,
            self.sink,
        )?;
        // A report that has come to its end is not waited for any more.
        if let Some(lines) = attend {
            self.attentive_to = self.summary.lines + lines;
        }
        ControlFlow::Continue(())
    }

    /// The line in the input's own form, or in any other. What is pasted in between has no form.
    fn head<'l>(&mut self, line: &'l [u8], head: &mut Head<'l>) -> Option<()> {
        let calendar = &mut self.calendar;
        let mut attempt = |format| {
            let taken = format::parse(format, line, calendar, head);
            if taken.is_none() {
                *head = Head::default();
            }
            taken
        };
        let plain = self.format == Format::Plain;
        let mut taken = if plain { None } else { attempt(self.format) };
        if taken.is_none() {
            let others = OTHERS.iter().filter(|other| **other != self.format);
            taken = others.copied().find_map(&mut attempt);
        }
        if taken.is_none() && plain && !line.starts_with(b"-- ") {
            taken = attempt(Format::Plain);
        }
        if head.boot.is_none() {
            head.boot = self.boot;
        }
        taken
    }

    /// A line that no form takes.
    fn without_head(&mut self, number: u64, line: &[u8]) -> ControlFlow<()> {
        if self.format == Format::Kmsg && line.starts_with(b" ") {
            self.streams.pass_over();
        } else if let Some(boot) = line.strip_prefix(b"-- Boot ") {
            let id = boot.split(|&b| b == b' ').next();
            self.boot = id.and_then(BootId::parse);
            self.streams.reboot(&mut self.summary, self.sink)?;
        } else if line.starts_with(b"-- Reboot --") {
            self.boot = None;
            self.streams.reboot(&mut self.summary, self.sink)?;
        } else if self.candidates.looks_like_oom(line) {
            self.summary.unparsed += 1;
            self.sink.odd(OddLine {
                number,
                text: line,
                why: Oddity::Unparsed,
            });
        }
        ControlFlow::Continue(())
    }

    /// A line of JSON objects that stand on several lines each.
    fn object_line(&mut self, block: &[u8], at: usize) -> ControlFlow<(), usize> {
        let (line, next) = line_at(block, at);
        self.summary.lines += 1;
        let line = &block[line];
        let Some(object) = &mut self.object else {
            return ControlFlow::Continue(next);
        };
        let ends = matches!(line.trim_ascii(), b"{" | b"}" | b"}," | b"},{");
        if !ends {
            if object.len() + line.len() < MAX_LINE {
                object.extend_from_slice(line);
                object.push(b'\n');
            }
            return ControlFlow::Continue(next);
        }
        let mut text = b"{".to_vec();
        text.append(object);
        if text.len() > 1 {
            text.push(b'}');
            self.objects += 1;
            let mut head = Head::default();
            match self.head(&text, &mut head) {
                Some(()) => self.message(self.objects, &mut head, &text)?,
                None => self.without_head(self.summary.lines, &text)?,
            }
        }
        text.clear();
        self.object = Some(text);
        ControlFlow::Continue(next)
    }

    /// Nothing follows.
    fn finish(mut self, flow: ControlFlow<()>) -> Summary {
        if flow.is_continue() {
            // What the sink still wants to hear is only known to itself.
            let _ = self.streams.finish(&mut self.summary, self.sink);
        }
        self.summary
    }
}

/// The line at `at`, without its end and cut to what is read of it, and where the next begins. Consoles
/// end lines with a carriage return too, and begin some with one.
fn line_at(block: &[u8], at: usize) -> (Range<usize>, usize) {
    let newline = memchr::memchr(b'\n', &block[at..]);
    let end = newline.map_or(block.len(), |newline| at + newline);
    let mut line = at..end.min(at + MAX_LINE);
    while !line.is_empty() && block[line.end - 1] == b'\r' {
        line.end -= 1;
    }
    while !line.is_empty() && block[line.start] == b'\r' {
        line.start += 1;
    }
    (
        line,
        newline.map_or(block.len(), |newline| at + newline + 1),
    )
}

fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// FNV-1a, 64 bits: the same for the same bytes for ever, which is all that is asked of it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
