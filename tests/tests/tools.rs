//! The tools that people read the kernel log with, after a real kill: `oom-agent parse` must find it in
//! what each of them prints.
//!
//! Reads the output of this machine's dmesg, and of journalctl from a journal that is made for the test. A
//! journal that cannot be made here is skipped.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    machine::{self, Machine},
    scene::{self, Truth},
};
use serde_json::Value;

/// What a tool's output tells of the time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Monotonic,
    Wall,
    Both,
    None,
}

/// Options of dmesg.
const DMESG: &[(&[&str], Clock)] = &[
    (&[], Clock::Monotonic),
    (&["-T"], Clock::Wall),
    (&["-x"], Clock::Monotonic),
    (&["-r"], Clock::Monotonic),
    (&["-d"], Clock::Monotonic),
    (&["-e"], Clock::None),
    (&["-t"], Clock::None),
    (&["--json"], Clock::Monotonic),
    (&["--syslog"], Clock::Monotonic),
    (&["--time-format", "iso"], Clock::Wall),
    (&["-x", "-T"], Clock::Wall),
];

/// Forms of `journalctl -k -o`.
const JOURNAL: &[(&str, Clock)] = &[
    ("short", Clock::Wall),
    ("short-precise", Clock::Wall),
    ("short-iso", Clock::Wall),
    ("short-iso-precise", Clock::Wall),
    ("short-full", Clock::Wall),
    ("short-unix", Clock::Wall),
    ("short-monotonic", Clock::Monotonic),
    ("json", Clock::Both),
    ("json-pretty", Clock::Both),
];

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// A journal of our own, in a /run of our own: it reads the kernel log, and what it then holds is written
/// to a file for each form. Its words: the directory, what the journal must show, the daemon, the forms.
const KEEP_JOURNAL: &str = r#"
set -e
dir=$1 awaited=$2 journald=$3
shift 3
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
"$journald" 2> /dev/null &
end=$(($(date +%s) + 30))
until journalctl -k -o cat 2> /dev/null | grep -q "$awaited"; do
    [ "$(date +%s)" -lt "$end" ]
done
for form; do
    journalctl -k -o "$form" > "$dir/$form"
done
kill $!
"#;

#[test]
fn a_real_kill_is_found_in_every_output_of_dmesg() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let truth = scene::one_kill(&machine.hierarchy)?;
    let mut read = 0;
    for (args, clock) in DMESG {
        let output = Command::new("dmesg").args(*args).output();
        // Not every dmesg knows every option.
        match output.ok().filter(|output| output.status.success()) {
            Some(output) => {
                found(&output.stdout, *clock, &truth).with_context(|| format!("{args:?}"))?;
                read += 1;
            }
            None => println!("dmesg {args:?} is not known here"),
        }
    }
    ensure!(read > 0, "no dmesg here");
    Ok(())
}

#[test]
fn a_real_kill_is_found_in_every_output_of_the_journal() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    if !Path::new(JOURNALD).exists() {
        return machine::skip(&format!("needs {JOURNALD} (apt-get install systemd)"));
    }
    let truth = scene::one_kill(&machine.hierarchy)?;
    let dir = tempfile::tempdir_in(machine::build_dir()?)?;
    let kept = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", KEEP_JOURNAL, "sh"])
        .arg(dir.path())
        .arg(format!("Killed process {} ", truth.tid))
        .arg(JOURNALD)
        .args(JOURNAL.iter().map(|(form, _)| form))
        .output()
        .context("unshare")?;
    ensure!(kept.status.success(), "{kept:?}");
    for (form, clock) in JOURNAL {
        let log = fs::read(dir.path().join(form))?;
        found(&log, *clock, &truth).with_context(|| format!("journalctl -o {form}"))?;
    }
    Ok(())
}

fn found(log: &[u8], clock: Clock, truth: &Truth) -> Result<()> {
    let mut parse = Command::new(machine::agent_binary()?)
        .args(["parse", "--output", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = parse.stdin.take().context("stdin")?;
    let input = log.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = parse.wait_with_output()?;
    writer.join().ok().context("the writer panicked")??;
    ensure!(output.status.success(), "{output:?}");
    let kill = output
        .stdout
        .split(|&b| b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .rfind(|event| {
            event["kind"] == "OomInstance" && event["kills"][0]["victim"]["tid"] == truth.tid
        })
        .context("no report of the kill")?;
    // Somebody else's kills may have used up what the kernel allows itself to print.
    if kill["crosscheck"]["kmsg_report"] == "full" {
        ensure!(
            kill["limit"]["limit_bytes"].as_u64() == truth.limit.as_ref().map(|limit| limit.bytes),
            "{kill:#}"
        );
        ensure!(kill["trigger"]["comm"].is_string(), "{kill:#}");
    }
    let known = (kill["monotonic_ns"].is_u64(), kill["time"].is_string());
    let expected = match clock {
        Clock::Monotonic => (true, false),
        Clock::Wall => (false, true),
        Clock::Both => (true, true),
        Clock::None => (false, false),
    };
    ensure!(known == expected, "{kill:#}");
    Ok(())
}
