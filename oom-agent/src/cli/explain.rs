//! `oom-agent explain`: one report of a log, told in plain words.

use std::{
    io::{self, IsTerminal, Write as _},
    num::NonZeroU64,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::{EXIT_FAILED, fail, log::LogArgs};
use crate::{
    event::{Event, OomInstance},
    explain::explain,
    offline::{self, Input, Sink, Summary},
    render::{text::TextStyle, units::count},
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A log, plain or gzip; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Tell this report, counted from 1, instead of the last.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    report: Option<NonZeroU64>,
    /// Only reports in which this process or thread died.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Tell every report.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn main(args: ExplainArgs) -> ExitCode {
    let options = args.log.options();
    let input = match Input::open(&args.file) {
        Ok(input) => input,
        Err(error) => return fail(&error),
    };
    let mut teller = Teller {
        report: args.report.map(NonZeroU64::get),
        pid: args.pid,
        all: args.all,
        seen: 0,
        kept: None,
        failure: None,
    };
    let read = offline::read(input, &options, &mut teller);
    if let Some(report) = teller.kept.take() {
        teller.tell(&report);
    }
    if let Some(error) = &teller.failure {
        return match error.kind() {
            io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => fail(error),
        };
    }
    match read {
        Ok(summary) => teller.conclude(&summary),
        Err(error) => fail(&error),
    }
}

/// Chooses what is told. Keeps one report at most, however long the log is.
struct Teller {
    report: Option<u64>,
    pid: Option<u32>,
    all: bool,
    /// Reports that fit, so far.
    seen: u64,
    kept: Option<Box<OomInstance>>,
    failure: Option<io::Error>,
}

impl Sink for Teller {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        let Event::OomInstance(report) = event else {
            return ControlFlow::Continue(());
        };
        if self.pid.is_some_and(|pid| !died_in(&report, pid)) {
            return ControlFlow::Continue(());
        }
        self.seen += 1;
        if self.all {
            self.tell(&report);
        } else if self.report.is_none_or(|wanted| wanted == self.seen) {
            self.kept = Some(report);
        }
        let done = self.failure.is_some() || self.report == Some(self.seen);
        if done {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Teller {
    fn tell(&mut self, report: &OomInstance) {
        let stdout = io::stdout();
        let style = TextStyle {
            colour: stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ..TextStyle::default()
        };
        let mut text = String::new();
        if self.all && self.seen > 1 {
            text.push('\n');
        }
        explain(report, style, &mut text);
        if let Err(error) = stdout.lock().write_all(text.as_bytes()) {
            self.failure = Some(error);
        }
    }

    /// What else there is to tell, or why nothing was told.
    fn conclude(&self, summary: &Summary) -> ExitCode {
        let fitting = self
            .pid
            .map_or_else(String::new, |pid| format!(" in which {pid} died"));
        match (self.seen, self.report) {
            (0, _) => {
                eprintln!("oom-agent: no OOM report{fitting} found");
                if summary.abandoned > 0 {
                    let cut = count(summary.abandoned, "report ends", "reports end");
                    eprintln!(
                        "oom-agent: {cut} before anybody is killed: the rest is not in the log"
                    );
                }
            }
            (seen, Some(wanted)) if seen < wanted => eprintln!(
                "oom-agent: no report {wanted}: there {} {}{fitting}",
                if seen == 1 { "is" } else { "are" },
                count(seen, "report", "reports")
            ),
            (seen, None) if seen > 1 && !self.all => {
                eprintln!(
                    "This was the last of {seen} reports{fitting}; --report N tells another, --all tells all."
                );
                return ExitCode::SUCCESS;
            }
            _ => return ExitCode::SUCCESS,
        }
        ExitCode::from(EXIT_FAILED)
    }
}

/// Whether this process, or thread, was killed.
fn died_in(report: &OomInstance, pid: u32) -> bool {
    let kills = report.kills.iter();
    kills
        .map(|kill| &kill.victim)
        .any(|victim| victim.pid == Some(pid) || victim.tid == pid)
}
