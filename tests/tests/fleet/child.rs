//! `oom-agent fleet …` as a child process: what it says, and how it ends.

use std::{
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use oom_tests::{agent::DEADLINE, machine, nats::Cluster};

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command that is to ask these servers.
pub(crate) fn command(args: &[&str], cluster: &Cluster) -> Result<Command> {
    let mut command = Command::new(machine::agent_binary()?);
    command
        .args(args)
        .args(["--nats", &cluster.urls().join(",")]);
    Ok(command)
}

/// Runs it to its end.
pub(crate) fn say(args: &[&str], cluster: &Cluster) -> Result<Said> {
    Ok(command(args, cluster)?.output()?.into())
}

/// Runs it again and again until it says so.
pub(crate) fn until(
    what: &str,
    cluster: &Cluster,
    args: &[&str],
    is_so: impl Fn(&Said) -> bool,
) -> Result<Said> {
    let end = Instant::now() + DEADLINE;
    loop {
        let said = say(args, cluster)?;
        if is_so(&said) {
            return Ok(said);
        }
        ensure!(Instant::now() < end, "not {what}: {said:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until one that goes on by itself has ended; how.
pub(crate) fn ended(child: &mut Child) -> Result<Option<i32>> {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        ensure!(Instant::now() < end, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
