//! The `oom-agent` binary: log to stderr, parse the command line, do it.
//!
//! While it watches, the log is written by a thread of its own: a stderr that nobody reads must not hold
//! up detection. Lines that find no room are counted. That thread is started before the agent knows what it
//! can give up, and has no need of anything but stderr: it gives up everything at once. A panic on any thread then ends the process: a
//! watch that has lost a thread and goes on would be trusted for nothing.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use oom_agent::{cli, confine::idle_thread};
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines of the log that may wait for a reader.
const LINES: usize = 1024;

/// A panic is told within this time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let Some(without) = cli.watches() else {
        log_to(std::io::stderr);
        return cli::main(cli);
    };
    abort_on_panic();
    // A thread is confined by the one that starts it.
    let start = || {
        idle_thread(without);
        NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES)
            .thread_name("stderr")
            .finish(std::io::stderr())
    };
    let Ok((writer, flush)) = std::thread::scope(|scope| scope.spawn(start).join()) else {
        // It has panicked, which has ended the process.
        return ExitCode::FAILURE;
    };
    let lost = writer.error_counter();
    log_to(writer);
    let code = cli::main(cli);
    if lost.dropped_lines() == 0 {
        drop(flush);
    } else {
        // Nobody reads: flushing would only say on standard output that it cannot.
        std::mem::forget(flush);
        cli::say_at_the_end(format!(
            "{} lines of this log were lost: nobody read them",
            lost.dropped_lines()
        ));
    }
    code
}

/// What is logged if nobody says. The client of NATS tells of each try what the sink tells once.
const FILTER: &str = "info,async_nats=off";

fn log_to(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter =
        EnvFilter::try_from_env("OOM_AGENT_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .without_time()
        .init();
}

fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Whoever does not read stderr must not keep the process from ending.
        let end = || {
            std::thread::sleep(PATIENCE);
            std::process::abort();
        };
        let _ = std::thread::Builder::new().spawn(end);
        say(panic);
        std::process::abort();
    }));
}
