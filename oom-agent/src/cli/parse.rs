//! `oom-agent parse`.

use std::{
    io::{self, ErrorKind, IsTerminal, Read, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{EXIT_FAILED, fail, log::LogArgs};
use crate::{
    event::Event,
    offline::{self, Input, OddLine, Oddity, Options, Sink, Summary},
    render::escape::escape,
    stdout::{Format, Renderer},
    text::printable,
};

/// A file that is read in less than a second needs no progress bar.
const LONG: u64 = 256 << 20;

/// Bytes that are written at once, at least.
const CHUNK: usize = 1 << 16;

#[derive(Debug, Args)]
pub(super) struct ParseArgs {
    /// Logs, plain or gzip; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// How events are written to standard output.
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    /// Show on stderr the lines that look like the OOM killer's and made no event.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn main(args: ParseArgs) -> ExitCode {
    let options = args.log.options();
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
    terminal: bool,
    /// Events that have not been written.
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

    fn flush(&mut self) {
        let written = self.bar.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&self.rendered)?;
            stdout.flush()
        });
        self.rendered.clear();
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
        self.renderer.render(&event, &mut self.rendered);
        if self.terminal || self.rendered.len() >= CHUNK {
            self.flush();
        }
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
