//! The command line of `oom-agent parse`: what it prints where, and how it ends.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};

const KILLED: &str = "[    7.000000] Memory cgroup out of memory: Killed process 7 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB\n";

fn parse(args: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oom-agent"));
    command.arg("parse").args(args).stdin(Stdio::null());
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_end_has_its_code_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(KILLED.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();

    let empty = path("empty", b"");
    let killed = path("killed", KILLED.as_bytes());
    let odd = path("odd", b"[    7.000000] Killed process 7 in some way\n");
    let zipped = path("zipped.gz", &whole);
    let cut = path("cut.gz", &whole[..whole.len() - 6]);
    let zstd = path("log.zst", b"\x28\xb5\x2f\xfd\x04\0\0\0");
    let missing = dir.path().join("missing");
    let directory = dir.path().to_owned();

    // Files, exit code, kills, and what must be said on stderr.
    let cases: &[(&[&Path], i32, usize, &[&str])] = &[
        (
            &[&empty],
            0,
            0,
            &["format=plain lines=0 reports=0", "no OOM kill found"],
        ),
        (
            &[&killed],
            0,
            1,
            &[
                "summary: ",
                "format=dmesg lines=1 reports=1 kills=1 suppressed=0 unparsed=0",
            ],
        ),
        (&[&zipped], 0, 1, &["kills=1"]),
        (&[&odd], 0, 0, &["unparsed=1", "--verbose shows them"]),
        (
            &[Path::new("--verbose"), &odd],
            0,
            0,
            &["odd:1: not understood: [    7.000000] Killed process 7 in"],
        ),
        (
            &[&killed, &empty, &killed],
            0,
            2,
            &["summary: 3 files: lines=2 reports=2 kills=2"],
        ),
        (
            &[&missing, &killed],
            1,
            1,
            &["cannot read", "No such file", "summary: 2 files"],
        ),
        (&[&directory], 1, 0, &["is a directory"]),
        (&[&cut], 1, 1, &["kills=1", "cannot read on after line 1"]),
        (&[&zstd], 1, 0, &["compressed with zstd", "zstd -dc"]),
    ];
    for (files, code, kills, said) in cases {
        let output = parse(files).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(*code), "{files:?}: {err}");
        assert_eq!(out.matches("OOM KILL").count(), *kills, "{files:?}: {out}");
        for words in *said {
            assert!(err.contains(words), "{files:?}: {words}: {err}");
        }
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut child = parse(&["--output".as_ref(), "json".as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // More events than any buffer holds. The agent may leave before it has read them.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(KILLED.repeat(10_000).as_bytes());
    let output = child.wait_with_output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(
        err.starts_with("summary: ") && err.lines().count() == 1,
        "{err}"
    );
}
