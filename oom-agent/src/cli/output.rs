//! What the commands that ask have in common: how they print, and how they end.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Args, ColorChoice, ValueEnum};
use serde_json::value::RawValue;

use super::{EXIT_NOT_FOUND, EXIT_USAGE, fail};
use crate::{
    client::{ClientError, SOCKET, STORE},
    event::Event,
    render::text::TextStyle,
};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// A table for people or one JSON object per line; a table on a terminal if nothing is said, else JSON.
    #[arg(long, short, value_enum)]
    output: Option<As>,
    #[command(flatten)]
    colour: ColourArgs,
}

/// Of the same for what is no table.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct StoryArgs {
    /// Text for people, or JSON.
    #[arg(long, short, value_enum, default_value = "text")]
    output: TextOrJson,
    #[command(flatten)]
    colour: ColourArgs,
}

/// Colour alone.
#[derive(Clone, Copy, Debug, Args)]
struct ColourArgs {
    /// Whether to colour; `auto`: on a terminal, unless `NO_COLOR` is set.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// Of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum As {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl OutputArgs {
    pub(super) fn format(self) -> As {
        self.output.unwrap_or(if io::stdout().is_terminal() {
            As::Table
        } else {
            As::Json
        })
    }

    pub(super) fn style(self) -> TextStyle {
        self.colour.style()
    }
}

impl StoryArgs {
    pub(super) fn is_json(self) -> bool {
        self.output == TextOrJson::Json
    }

    pub(super) fn style(self) -> TextStyle {
        self.colour.style()
    }
}

impl ColourArgs {
    fn style(self) -> TextStyle {
        let colour = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
            }
        };
        TextStyle {
            colour,
            ..TextStyle::default()
        }
    }
}

/// Columns of the terminal, if standard output is one.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Writes to standard output, now.
pub(super) fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// The event; `None` of a kind or form that this version does not know.
pub(super) fn parse(json: &RawValue) -> Option<Event> {
    serde_json::from_str(json.get()).ok()
}

/// Says how many events were not understood.
pub(super) fn say_unknown(unknown: u64) {
    if unknown > 0 {
        eprintln!(
            "oom-agent: {unknown} events are not shown: this version does not know them (--output json prints them)"
        );
    }
}

/// Why there is no answer on standard output.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "no agent answers at {SOCKET}, and there is no store at {STORE}: start it (`oom-agent run`), or say with --socket, --url or --store whom to ask"
    )]
    Nobody,
    #[error(
        "no agent answers at {SOCKET}: start it (`oom-agent run`), or say with --socket or --url whom to ask"
    )]
    NoAgent,
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0}")]
    NotFound(String),
    #[error("the answer is of a version of oom-agent that this one does not understand")]
    Unknown(#[from] serde_json::Error),
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FleetError),
    #[error("cannot write")]
    Output(#[from] io::Error),
}

/// How the command ends. Nobody reads any more: nothing is wrong with that.
pub(super) fn end(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let failed = fail(&error);
            match error {
                Failure::NotFound(_) => ExitCode::from(EXIT_NOT_FOUND),
                Failure::Usage(_) => ExitCode::from(EXIT_USAGE),
                _ => failed,
            }
        }
    }
}
