//! `cargo xtask test`: every test of the project, the quick ones first.
//!
//! Reads the tests' output, where a test that cannot run says `skipped: NAME: REASON`; emits it, and
//! those again at the end. With `CI=true` (or `OOM_TESTS_REQUIRE_PRIVILEGED=1`) it refuses a skipped
//! test, for what CI did not see is not known to work; only a reason that begins with `this kernel` is
//! taken, for no CI can have every kernel.

use std::{
    env,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    process::{ExitCode, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    build_ebpf, fuzz, python,
    tool::{self, Tool},
    vm,
};

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.19.9",
};

/// Tests that need root fail instead of skipping when this is set.
const REQUIRE_PRIVILEGED: &str = "OOM_TESTS_REQUIRE_PRIVILEGED";

/// Formatting, lints, licences, the eBPF objects, and every test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves out what takes long: licences, rebuilding the eBPF objects, other kernels.
    #[arg(long)]
    quick: bool,
    /// Fuzzes the kernel log's parser as well, for so many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    fuzz: Option<u64>,
    /// Only these other kernels, as `cargo xtask vm --kernel` takes them: 6.12,5.10.223
    #[arg(long, value_delimiter = ',', value_parser = vm::asked_for)]
    kernels: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    step("formatting");
    tool::run(tool::cargo().args(["fmt", "--all", "--check"]))?;
    step("lints");
    tool::run(tool::cargo().args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]))?;
    if !args.quick {
        let bare = "clippy --quiet --package oom-agent --no-default-features -- -D warnings";
        tool::run(tool::cargo().args(bare.split(' ')))?;
        build_ebpf::lint()?;
        step("licences and sources of dependencies");
        let path = CARGO_DENY.ensure()?;
        let deny = "deny --log-level error check --hide-inclusion-graph bans licenses sources";
        tool::run(tool::cargo().args(deny.split(' ')).env("PATH", path))?;
        step("the eBPF objects, rebuilt and compared");
        build_ebpf::check()?;
    }
    step("tests");
    let required = is_true("CI") || is_true(REQUIRE_PRIVILEGED);
    let mut skipped = tests(required)?;
    if !args.quick {
        step("tests under other kernels");
        skipped.extend(vm::play(&vm::Plan {
            kernels: args.kernels.clone(),
            ..vm::Plan::whole()
        })?);
        step("the package for Debian, under systemd, over a reboot");
        skipped.extend(vm::play_packaged()?);
    }
    if let Some(seconds) = args.fuzz {
        step("fuzzing");
        fuzz::run(seconds)?;
    }
    summary(&skipped, start);
    let avoidable = skipped
        .iter()
        .filter(|skip| !skip.reason.starts_with("this kernel"))
        .count();
    if required && avoidable > 0 {
        bail!("{avoidable} tests were skipped that must run here");
    }
    Ok(ExitCode::SUCCESS)
}

/// A test that did not run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// Runs `cargo test`, shows what it says, and returns the tests that were skipped.
fn tests(required: bool) -> Result<Vec<Skip>> {
    let mut command = tool::cargo();
    command.args(["test", "--no-fail-fast", "--", "--show-output"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Where it cannot be installed, its test says that it was skipped.
    match python::schemathesis() {
        Ok(program) => drop(command.env(python::VARIABLE, program)),
        Err(error) => eprintln!("xtask: no Schemathesis: {error:#}"),
    }
    match python::nats_server() {
        Ok(program) => drop(command.env(python::NATS_VARIABLE, program)),
        Err(error) => eprintln!("xtask: no nats-server: {error:#}"),
    }
    if io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    if required {
        command.env(REQUIRE_PRIVILEGED, "1");
    }
    let mut child = command.spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let stderr = child.stderr.take().context("no stderr")?;
    // A test may speak past the harness, straight to stderr.
    let errors = thread::spawn(move || {
        let mut skipped = Vec::new();
        for line in lines(stderr) {
            skipped.extend(Skip::in_line(&line));
            eprintln!("{line}");
        }
        skipped
    });
    let mut output = Output::default();
    for line in lines(stdout).filter(|line| output.shows(line)) {
        println!("{line}");
    }
    let mut skipped = output.skipped;
    skipped.extend(errors.join().unwrap_or_default());
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo test failed: {status}");
    }
    Ok(skipped)
}

/// Lines of a pipe, to its end, whatever bytes they hold.
fn lines(pipe: impl Read) -> impl Iterator<Item = String> {
    let lines = BufReader::new(pipe).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

impl Skip {
    /// What a test says that cannot run.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        let (name, reason) = line.strip_prefix("skipped: ")?.split_once(": ")?;
        Some(Self {
            name: name.to_owned(),
            reason: reason.to_owned(),
        })
    }
}

/// Reads the output of `cargo test -- --show-output`.
#[derive(Default)]
struct Output {
    /// Within what tests that passed have printed: asked for only to see who was skipped.
    in_successes: bool,
    skipped: Vec<Skip>,
}

impl Output {
    /// Takes one line; tells whether a person should see it.
    fn shows(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if line.starts_with("test result: ") => self.in_successes = false,
            _ => {}
        }
        self.skipped.extend(Skip::in_line(line));
        !self.in_successes
    }
}

fn summary(skipped: &[Skip], start: Instant) {
    println!(
        "\nskipped tests: {}",
        if skipped.is_empty() { "none" } else { "" }
    );
    for Skip { name, reason } in skipped {
        println!("  {name}: {reason}");
    }
    println!("xtask test: done in {} s", start.elapsed().as_secs());
}

fn step(name: &str) {
    println!("xtask test: {name}");
}

fn is_true(name: &str) -> bool {
    env::var(name).is_ok_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_passed_tests_is_read_but_not_shown() {
        let text = "\
running 2 tests
test a ... ok
test b ... ok

successes:

---- a stdout ----
skipped: scenario::a: not root: no CAP_BPF
some words

successes:
    a
    b

test result: ok. 2 passed; 0 failed";
        let mut output = Output::default();
        let shown: Vec<_> = text.lines().filter(|line| output.shows(line)).collect();
        assert_eq!(
            shown,
            [
                "running 2 tests",
                "test a ... ok",
                "test b ... ok",
                "",
                "test result: ok. 2 passed; 0 failed"
            ]
        );
        let skip = Skip {
            name: "scenario::a".into(),
            reason: "not root: no CAP_BPF".into(),
        };
        assert_eq!(output.skipped, [skip]);
    }
}
