//! How fast `oom-agent parse` reads, against the plainest tools on the same files in the same run.
//!
//! Writes logs from the recorded reports of the tests: one of ordinary lines with few reports, the
//! others nothing but reports. Emits a table and `target/bench-parse.json`. A figure is CPU time, user and
//! system: waiting does not count, but caches that others use do. Refuses to judge.

use std::{
    ffi::OsStr,
    fmt, fs,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::Serialize;

use crate::{project, tool};

/// The best of so many runs.
const RUNS: usize = 5;

/// What is asked of each file, in bytes per second of CPU time.
const GOAL_FEW: f64 = 1e9;
const GOAL_REPORTS: f64 = 3e8;

/// One file, and what it cost to read it.
#[derive(Debug, Serialize)]
struct Figure {
    log: &'static str,
    bytes: u64,
    /// Bytes of JSON that were written.
    output_bytes: u64,
    goal_bytes_per_second: f64,
    /// Seconds of CPU time.
    parse: f64,
    /// The same; null where the tool is not here.
    wc: Option<f64>,
    grep: Option<f64>,
}

/// Measures, prints and writes.
pub(super) fn measure(binary: &Path, mebibytes: u64) -> Result<()> {
    let bytes = mebibytes << 20;
    let dir = tempfile::tempdir()?;
    let messages = messages()?;
    let mut figures = Vec::new();
    for (log, goal, write) in LOGS {
        super::step(&format!("parse: {log}, {mebibytes} MiB"));
        let path = dir.path().join("log");
        let mut file = BufWriter::new(File::create(&path)?);
        write(&messages, bytes, &mut file).context("cannot write a log")?;
        file.into_inner().context("cannot write a log")?;
        figures.push(figure(log, *goal, binary, &path)?);
    }
    let path = project::target().join("bench-parse.json");
    fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")?;
    println!("\n{}as JSON: {}", Table(&figures), path.display());
    Ok(())
}

/// The recorded reports that are whole, as the messages of the kernel.
fn messages() -> Result<Vec<String>> {
    let dir = project::root().join("oom-agent/tests/kmsg");
    let mut files: Vec<_> = fs::read_dir(&dir)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut messages = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let plain = ["single.kmsg", "system.kmsg", "group.kmsg"];
        if !name.starts_with('6') || !plain.iter().any(|plain| name.ends_with(plain)) {
            continue;
        }
        let text = fs::read_to_string(file.path())?;
        let records = text.lines().filter_map(|line| line.split_once(';'));
        messages.extend(records.map(|(_, message)| message.to_owned()));
    }
    ensure!(
        !messages.is_empty(),
        "no recorded reports in {}",
        dir.display()
    );
    Ok(messages)
}

/// Writes a log of at least so many bytes.
type Writer = fn(&[String], u64, &mut dyn Write) -> Result<()>;

const LOGS: &[(&str, f64, Writer)] = &[
    ("syslog, few reports", GOAL_FEW, few),
    (
        "dmesg, reports only",
        GOAL_REPORTS,
        |messages, bytes, out| {
            reports(messages, bytes, out, |us, message| {
                format!("[{:5}.{:06}] {message}\n", us / 1_000_000, us % 1_000_000)
            })
        },
    ),
    (
        "syslog, reports only",
        GOAL_REPORTS,
        |messages, bytes, out| {
            reports(messages, bytes, out, |us, message| {
                let (seconds, us) = (us / 1_000_000, us % 1_000_000);
                format!("Nov 21 04:21:42 node-7 kernel: [{seconds:5}.{us:06}] {message}\n")
            })
        },
    ),
    (
        "journal JSON, reports only",
        GOAL_REPORTS,
        |messages, bytes, out| {
            reports(messages, bytes, out, |us, message| {
                let unix_us = 1_795_204_800_000_000 + us;
                let message = message.replace('\\', "\\\\").replace('"', "\\\"");
                let level = if message.contains("Killed process") {
                    3
                } else {
                    6
                };
                format!(
                    "{{\"__REALTIME_TIMESTAMP\":\"{unix_us}\",\"_BOOT_ID\":\"29e1a4ca7262404d97b3ac4a429d12e6\",\
                 \"_HOSTNAME\":\"node-7\",\"_TRANSPORT\":\"kernel\",\"PRIORITY\":\"{level}\",\
                 \"_SOURCE_MONOTONIC_TIMESTAMP\":\"{us}\",\"MESSAGE\":\"{message}\"}}\n"
                )
            })
        },
    ),
];

/// Reports one after the other, each a second after the one before it.
fn reports(
    messages: &[String],
    bytes: u64,
    out: &mut dyn Write,
    line: impl Fn(u64, &str) -> String,
) -> Result<()> {
    let (mut us, mut written) = (1_000_000_000, 0);
    while written < bytes {
        for message in messages {
            us += if message.contains("invoked oom-killer") {
                1_000_000
            } else {
                20
            };
            let line = line(us, message);
            out.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
    }
    Ok(())
}

/// What the log of a busy node is made of, and all recorded reports once in 64 MiB.
fn few(messages: &[String], bytes: u64, out: &mut dyn Write) -> Result<()> {
    const BETWEEN: u64 = 64 << 20;
    const ORDINARY: [&str; 5] = [
        "kubelet[1312]: I1121 04:21:42.123456 1312 kubelet.go:2122] \"SyncLoop (PLEG): event for pod\" pod=\"default/web-6d4\"",
        "systemd[1]: Started Session 4711 of user root.",
        "kernel: [12345.678901] audit: type=1400 audit(1795204800.123:456): apparmor=\"DENIED\" operation=\"open\" profile=\"snap\"",
        "sshd[4242]: Accepted publickey for root from 10.0.0.1 port 4711 ssh2: RSA SHA256:mUYbpqHLcVrGSnEpzs0dL2xSxSg",
        "containerd[812]: time=\"2026-11-21T04:21:42Z\" level=info msg=\"shim disconnected\" id=0123456789abcdef",
    ];
    let mut block = Vec::new();
    while (block.len() as u64) < BETWEEN {
        for text in ORDINARY {
            writeln!(block, "Nov 21 04:21:42 node-7 {text}")?;
        }
    }
    let mut written = 0;
    while written < bytes {
        out.write_all(&block)?;
        written += block.len() as u64;
        for message in messages {
            writeln!(
                out,
                "Nov 21 04:21:42 node-7 kernel: [12345.678901] {message}"
            )?;
        }
    }
    Ok(())
}

fn figure(log: &'static str, goal: f64, binary: &Path, path: &Path) -> Result<Figure> {
    let parse = |stdout| {
        let mut command = Command::new(binary);
        command.args(["parse", "--output", "json"]).arg(path);
        command.stdout(stdout).stderr(Stdio::null());
        command
    };
    let output = path.with_extension("json");
    tool::run(&mut parse(File::create(&output)?.into()))?;
    Ok(Figure {
        log,
        bytes: fs::metadata(path)?.len(),
        output_bytes: fs::metadata(&output)?.len(),
        goal_bytes_per_second: goal,
        parse: cpu_seconds(|| parse(Stdio::null()))?,
        wc: baseline("wc", ["-l".as_ref(), path.as_ref()])?,
        grep: baseline(
            "grep",
            ["-c".as_ref(), "invoked oom-killer".as_ref(), path.as_ref()],
        )?,
    })
}

fn baseline<const N: usize>(program: &str, args: [&OsStr; N]) -> Result<Option<f64>> {
    if tool::on_path(program).is_none() {
        return Ok(None);
    }
    cpu_seconds(|| {
        let mut command = Command::new(program);
        // To /dev/null, grep would stop at the first match.
        command.args(args).stdout(Stdio::piped());
        command
    })
    .map(Some)
}

/// CPU time of the best run.
fn cpu_seconds(command: impl Fn() -> Command) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let mut child = command().spawn()?;
        let pid = Pid::from_child(&child);
        // It has ended and can still be asked.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )?;
        let path = format!("/proc/{}", child.id());
        let ns = super::process::cpu_ns(Path::new(&path)).context("no schedstat")?;
        ensure!(child.wait()?.success(), "a run failed");
        best = best.min(Duration::from_nanos(ns).as_secs_f64());
    }
    Ok(best)
}

struct Table<'a>(&'a [Figure]);

impl fmt::Display for Table<'_> {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:28}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "", "parse", "goal", "wc -l", "grep -c", "JSON out"
        )?;
        for figure in self.0 {
            let rate = |seconds: Option<f64>| match seconds {
                Some(seconds) if seconds > 0.0 => {
                    format!("{:.2} GB/s", figure.bytes as f64 / seconds / 1e9)
                }
                _ => "-".into(),
            };
            writeln!(
                f,
                "{:28}{:>12}{:>12}{:>12}{:>12}{:>12}",
                figure.log,
                rate(Some(figure.parse)),
                format!("{:.2} GB/s", figure.goal_bytes_per_second / 1e9),
                rate(figure.wc),
                rate(figure.grep),
                format!("{:.0} MB", figure.output_bytes as f64 / 1e6),
            )?;
        }
        Ok(())
    }
}
