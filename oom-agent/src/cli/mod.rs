//! The command line.

use std::{process::ExitCode, sync::mpsc, thread, time::Duration};

use clap::{Parser, Subcommand};

use crate::{confine::Guard, trigger::hog, trigger::hog::HogArgs};

mod ask;
mod cleanup;
mod completions;
mod dead_letters;
mod doctor;
mod events;
mod explain;
#[cfg(feature = "nats")]
mod fleet;
mod log;
mod man;
mod metrics;
#[cfg(feature = "nats")]
mod nats;
mod output;
mod owner_cell;
mod parse;
mod run;
mod serve;
mod short_id;
mod show;
mod sinks;
mod status;
mod table;
mod top;
mod trigger;

/// Nothing could be done: a source, a permission or the system failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong arguments: clap's code.
pub const EXIT_USAGE: u8 = 2;
/// No source can be used.
pub const EXIT_NO_SOURCE: u8 = 3;
/// `--require-bpf`, and BPF cannot be used.
pub const EXIT_NO_BPF: u8 = 4;
/// Another agent reads the pins.
pub const EXIT_HELD: u8 = 5;
/// There is nothing with this id.
pub const EXIT_NOT_FOUND: u8 = 6;
/// The agent answers, and not every kill is told.
pub const EXIT_UNHEALTHY: u8 = 7;

/// Knows which process the kernel killed for memory on this node, why, and whose it was.
#[derive(Debug, Parser)]
#[command(
    name = "oom-agent",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 no usable source, 4 BPF required but not usable, 5 another agent is at it, 6 no such event, 7 the agent is not well."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch for OOM kills and report them until a signal comes.
    Run(Box<run::RunArgs>),
    /// List what happened: who was killed, whose it was, which limit was hit; and what happens, as it comes.
    Events(Box<events::EventsArgs>),
    /// Tell the whole story of one kill.
    Show(show::ShowArgs),
    /// Tell who is killed most: by container, pod, unit, cause or time.
    Top(Box<top::TopArgs>),
    /// Tell how the running agent is, and whether every kill is told.
    Status(status::StatusArgs),
    /// Ask the stream of a fleet: its kills, who is killed most, how its nodes are.
    #[cfg(feature = "nats")]
    Fleet(Box<fleet::FleetArgs>),
    /// List what sinks will never deliver, and why.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Tell what this node allows: each capability, feature and permission, what its absence costs and
    /// how to get it.
    Doctor(doctor::DoctorArgs),
    /// Read kernel logs (dmesg, the journal, syslog, serial consoles) and report the OOM kills in them.
    Parse(parse::ParseArgs),
    /// Tell one report of a log in plain words: who died, who asked, whose limit it was, what would have
    /// helped.
    Explain(explain::ExplainArgs),
    /// Make one real OOM kill in a scratch cgroup, to prove the whole way of an alert.
    Trigger(trigger::TriggerArgs),
    /// Remove what a stopped agent has left in the kernel: programs that go on recording kills, and their
    /// records.
    Cleanup(cleanup::CleanupArgs),
    /// Print the JSON Schema of the events.
    Schema,
    /// Print what a shell needs to complete this command line.
    Completions(completions::CompletionsArgs),
    /// Print the pages of the manual.
    Man(man::ManArgs),
    /// The process that `trigger` lets die.
    #[command(hide = true)]
    TriggerHog(HogArgs),
}

impl Cli {
    /// If it watches until it is told to end: the protections that it is not to have.
    #[must_use]
    pub fn watches(&self) -> Option<&[Guard]> {
        match &self.command {
            Command::Run(args) => Some(args.without()),
            #[cfg(feature = "nats")]
            Command::Fleet(args) if args.serves() => Some(&[]),
            _ => None,
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => run::main(*args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Parse(args) => parse::main(args),
        Command::Explain(args) => explain::main(args),
        Command::Trigger(args) => trigger::main(&args),
        Command::Cleanup(args) => cleanup::main(&args),
        Command::Events(args) => events::main(*args),
        Command::Show(args) => show::main(args),
        Command::Top(args) => top::main(*args),
        Command::Status(args) => status::main(args),
        #[cfg(feature = "nats")]
        Command::Fleet(args) => fleet::main(*args),
        Command::DeadLetters(args) => dead_letters::main(args),
        Command::Completions(args) => completions::main(&args),
        Command::Man(args) => man::main(&args),
        Command::Schema => schema(),
        Command::TriggerHog(args) => match hog::run(&args) {
            Ok(never) => match never {},
            Err(error) => fail(&error),
        },
    }
}

fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&crate::event::json_schema()) {
        Ok(schema) => {
            println!("{schema}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("oom-agent: {}", crate::error::chain(error));
    ExitCode::from(EXIT_FAILED)
}

/// At the end, a reader of stderr may take this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes a line to stderr; a reader that does not read must not keep the agent from ending.
pub fn say_at_the_end(line: String) {
    let (said, wait) = mpsc::channel::<()>();
    let say = move || {
        eprintln!("{line}");
        drop(said);
    };
    if thread::Builder::new()
        .name("summary".into())
        .spawn(say)
        .is_ok()
    {
        // Said, which closes the channel, or given up.
        let _ = wait.recv_timeout(PATIENCE);
    }
}
