//! `oom-agent parse`.

use std::{
    io::{self, BufWriter, ErrorKind, IsTerminal, Read, Stdout, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{
    Timestamp as Now,
    tz::{Offset, TimeZone},
};

use super::{EXIT_FAILED, fail};
use crate::{
    event::{Event, Timestamp},
    offline::{self, BootId, Input, OddLine, Oddity, Options, Sink, Summary},
    sink::{
        escape::escape,
        stdout::{Format, Renderer},
    },
    text::printable,
};

/// A file that is read in less than a second needs no progress bar.
const LONG: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(super) struct ParseArgs {
    /// Logs, plain or gzip; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Form of the lines, instead of finding it out.
    #[arg(long, value_enum)]
    format: Option<offline::Format>,
    /// How events are written to standard output.
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    /// The boot that the log is of; records of /dev/kmsg then get the ids that the agent gives them.
    #[arg(long, value_name = "ID")]
    boot_id: Option<BootId>,
    /// Name of the node in the events, instead of the host in the lines.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Size of a page where the log was written.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = page_size)]
    page_size: u64,
    /// Year of the first stamp without one; else the latest year that is not in the future.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1970..=2200))]
    year: Option<i16>,
    /// Zone of stamps without one: a name (Europe/Berlin), an offset (+01:00) or UTC; else the local one.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<TimeZone>,
    /// Show on stderr the lines that look like the OOM killer's and made no event.
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn main(args: ParseArgs) -> ExitCode {
    let options = Options {
        format: args.format,
        boot_id: args.boot_id,
        node: args.node,
        page_size: args.page_size,
        year: args.year,
        zone: args.timezone.unwrap_or_else(TimeZone::system),
        now: Timestamp::from_unix_ns(Now::now().as_nanosecond()),
    };
    let mut output = Output::new(args.output, args.verbose);
    let mut total = Summary::default();
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        match output.read(file, &options) {
            Ok(summary) => total.merge(&summary),
            Err(Failed) => code = ExitCode::from(EXIT_FAILED),
        }
        if output.gone {
            break;
        }
    }
    output.flush();
    if args.files.len() > 1 {
        eprintln!("summary: {} files: {total}", args.files.len());
    }
    match output.failure {
        Some(error) => fail(&error),
        None => code,
    }
}

/// What could not be read has been said.
struct Failed;

/// Standard output, and what is said on stderr beside it.
struct Output {
    renderer: Renderer,
    stdout: BufWriter<Stdout>,
    terminal: bool,
    rendered: Vec<u8>,
    verbose: bool,
    /// The file that is being read, as messages name it.
    name: String,
    bar: ProgressBar,
    /// Whether nobody reads standard output any more; quietly so if it is a closed pipe.
    gone: bool,
    failure: Option<io::Error>,
}

impl Output {
    fn new(format: Format, verbose: bool) -> Self {
        Self {
            renderer: Renderer::new(format),
            stdout: BufWriter::with_capacity(1 << 16, io::stdout()),
            terminal: io::stdout().is_terminal(),
            rendered: Vec::new(),
            verbose,
            name: String::new(),
            bar: ProgressBar::hidden(),
            gone: false,
            failure: None,
        }
    }

    fn read(&mut self, file: &Path, options: &Options) -> Result<Summary, Failed> {
        self.name = if file.as_os_str() == "-" {
            "standard input".into()
        } else {
            escape(&file.to_string_lossy()).into_owned()
        };
        let input = Input::open(file).map_err(|error| {
            fail(&error);
            Failed
        })?;
        self.bar = progress(input.size);
        let read = offline::read(Watched(input, self.bar.clone()), options, self);
        self.bar.finish_and_clear();
        self.flush();
        match read {
            Ok(summary) => {
                self.conclude(&summary);
                Ok(summary)
            }
            Err(error) => {
                self.conclude(&error.summary);
                eprintln!("oom-agent: {}: {}", self.name, crate::error::chain(&error));
                Err(Failed)
            }
        }
    }

    /// What was found, in one line, and what to do about it in another.
    fn conclude(&self, summary: &Summary) {
        let name = &self.name;
        eprintln!("summary: {name}: {summary}");
        if summary.unparsed > 0 && !self.verbose {
            eprintln!(
                "{name}: {} lines look like the OOM killer's and were not understood; --verbose shows them. \
                 If they are the kernel's, please report them as a bug.",
                summary.unparsed
            );
        } else if summary.reports == 0 && summary.unparsed == 0 && !self.gone {
            eprintln!("{name}: no OOM kill found");
        }
    }

    fn write(&mut self) {
        let (stdout, rendered, terminal) = (&mut self.stdout, &self.rendered, self.terminal);
        let written = self.bar.suspend(|| {
            stdout.write_all(rendered)?;
            if terminal { stdout.flush() } else { Ok(()) }
        });
        self.note(written);
    }

    fn flush(&mut self) {
        let flushed = self.stdout.flush();
        self.note(flushed);
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && !self.gone
        {
            self.gone = true;
            self.failure = Some(error).filter(|error| error.kind() != ErrorKind::BrokenPipe);
        }
    }
}

impl Sink for Output {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        self.rendered.clear();
        self.renderer.render(&event, &mut self.rendered);
        self.write();
        if self.gone {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn odd(&mut self, line: OddLine<'_>) {
        /// More does not help to recognise a line.
        const SHOWN: usize = 512;
        if !self.verbose {
            return;
        }
        let why = match line.why {
            Oddity::Unparsed => "not understood",
            Oddity::Forged => "not the kernel's",
        };
        let text = printable(&line.text[..line.text.len().min(SHOWN)]);
        self.bar.suspend(|| {
            eprintln!("{}:{}: {why}: {}", self.name, line.number, escape(&text));
        });
    }
}

/// Tells the progress bar how far it is.
struct Watched(Input, ProgressBar);

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.set_position(self.0.position.load(Ordering::Relaxed));
        Ok(read)
    }
}

fn progress(size: Option<u64>) -> ProgressBar {
    let Some(size) = size.filter(|&size| size >= LONG && io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr());
    let style = "{wide_bar} {percent}% of {total_bytes}, {bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn page_size(text: &str) -> Result<u64, String> {
    let size: u64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = size.is_power_of_two() && (4096..=1 << 20).contains(&size);
    fits.then_some(size)
        .ok_or_else(|| "a page is a power of two from 4096 bytes on".to_owned())
}

fn zone(text: &str) -> Result<TimeZone, String> {
    if let Some(offset) = offset(text) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(text).map_err(|error| error.to_string())
}

/// `+01:00`, `-0330`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let number: i32 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    let (hours, minutes) = (number / 100, number % 100);
    (minutes < 60)
        .then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok())
        .flatten()
}
