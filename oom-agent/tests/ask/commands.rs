//! The commands as somebody types them: what they print where, and how they end.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use oom_agent::{
    clock::Now,
    store::{Batch, DeadLetter, Delivered, Store},
};
use serde_json::Value;

use crate::{
    kept::{self, STORY},
    server::{Server, answer, deserted},
};

struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ask(args: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oom-agent"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(args)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Told {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn of_store(store: &Path, args: &[&str]) -> Told {
    ask(&[args, &["--store", store.to_str().unwrap()]].concat())
}

fn jsons(told: &Told) -> Vec<Value> {
    assert_eq!(told.code, Some(0), "{}", told.err);
    let lines = told.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The processes that died, in the order of the rows.
fn pids(told: &Told) -> Vec<u32> {
    let pid = |line: &str| {
        let (_, rest) = line.split_once('[')?;
        rest.split_once(']')?.0.parse().ok()
    };
    told.out.lines().filter_map(pid).collect()
}

#[test]
fn events_are_listed_the_newest_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::store(dir.path());
    let all = of_store(&store, &["events", "-o", "table"]);
    assert_eq!(all.code, Some(0), "{}", all.err);
    assert_eq!(pids(&all), STORY.map(|(_, _, pid, _)| pid));
    assert!(all.out.starts_with("TIME (UTC)"), "{}", all.out);
    let last = all.out.lines().last().unwrap();
    for words in [
        " 1h  killed",
        "shop/search-1/app",
        "nested[4004]",
        "4004-400400",
    ] {
        assert!(last.contains(words), "{words} in {last}");
    }
    assert!(!all.out.contains('\x1b'));
    assert_eq!(all.err, "");

    // Piped, it is JSON; each kind if asked.
    let kinds = of_store(&store, &["events", "--kind", "OomKill,ContainerDeletion"]);
    let kinds: Vec<_> = jsons(&kinds)
        .into_iter()
        .map(|e| e["kind"].clone())
        .collect();
    assert_eq!(kinds.len(), 5);
    assert_eq!(kinds.last().unwrap(), "ContainerDeletion");

    for (args, expected) in [
        (&["--limit", "2"][..], &[4003, 4004][..]),
        (&["--limit", "2", "--reverse"], &[4004, 4003]),
        (&["--limit", "0", "--reverse"], &[4004, 4003, 4002, 4001]),
        (&["--since", "25h"], &[4003, 4004]),
        (&["--since", "35h", "--until", "15h"], &[4002, 4003]),
        (&["--pod", "cart-0"], &[4001, 4003]),
        (&["-n", "shop", "--limit", "1"], &[4004]),
        (&["--scope", "system"], &[4002]),
        (&["--pid", "4003"], &[4003]),
        (&["--unit", "none.service"], &[]),
    ] {
        let told = of_store(&store, &[&["events", "-o", "table"], args].concat());
        assert_eq!(told.code, Some(0), "{args:?}: {}", told.err);
        assert_eq!(pids(&told), expected, "{args:?}");
    }
    let some = of_store(&store, &["events", "--limit", "2"]);
    assert!(some.err.contains("the last 2"), "{}", some.err);
    let none = of_store(&store, &["events", "--unit", "x", "-o", "table"]);
    assert_eq!((&*none.out, none.code), ("", Some(0)));
    assert!(none.err.contains("no such events"), "{}", none.err);
    let coloured = of_store(&store, &["events", "-o", "table", "--color", "always"]);
    assert!(
        coloured.out.contains("\x1b[1;31mkilled\x1b[0m"),
        "{}",
        coloured.out
    );
}

#[test]
fn one_is_shown_by_whatever_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::store(dir.path());
    let (full, report) = (kept::id(4003), kept::report_id(4003));
    for id in [&*full, &report, "4003-400300", "4003-4", "4003"] {
        let told = of_store(&store, &["show", id]);
        assert_eq!(told.code, Some(0), "{id}: {}", told.err);
        for words in [
            "hog (pid 4003)",
            "Its owner: pod shop/cart-0, container",
            "Which limit was hit",
            "container shop/cart-0/app had 1 other kill in the 7 days before, and none since.",
        ] {
            assert!(
                told.out.contains(words),
                "{id}: no {words:?} in\n{}",
                told.out
            );
        }
        let told = jsons(&of_store(&store, &["show", id, "-o", "json"]));
        assert_eq!(told[0]["id"], *report);
    }
    let first = of_store(&store, &["show", "4001"]);
    assert!(
        first
            .out
            .contains("no other kill in the 7 days before, and 1 since"),
        "{}",
        first.out
    );
    for id in ["4005", "4003-5", "kmsg1", "nonsense", ""] {
        let none = of_store(&store, &["show", id]);
        assert_eq!((&*none.out, none.code), ("", Some(6)), "{id}");
        assert!(none.err.contains("there is no kill"), "{}", none.err);
    }
}

#[test]
fn a_process_id_may_come_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = kept::store(dir.path());
    let mut store = Store::open(&path, kept::BOOT, u64::MAX).unwrap();
    let mut again = kept::happened("6.12-single", 0, 4001, None);
    let oom_agent::event::Event::OomKill(kill) = &mut again[0] else {
        panic!("no alert");
    };
    kill.id = format!("{}-4001-40019999", kept::BOOT).into();
    kill.instance_id = "none".into();
    kept::put(&mut store, again);
    drop(store);
    let newest = of_store(&path, &["show", "4001"]);
    assert!(
        newest.out.contains("There is no report of it"),
        "{}",
        newest.out
    );
    assert!(
        newest.err.contains("last of 2 kills of a process 4001"),
        "{}",
        newest.err
    );
    let either = of_store(&path, &["show", "4001-4001"]);
    assert_eq!(either.code, Some(6));
    assert!(either.err.contains("any of 2 kills"), "{}", either.err);
    let one = of_store(&path, &["show", "4001-40010"]);
    assert_eq!(one.code, Some(0), "{}", one.err);
}

#[test]
fn who_is_killed_most() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::store(dir.path());
    for (by, expected) in [
        ("owner", "shop/cart-0/app 2"),
        ("pod", "shop/cart-0 2"),
        ("namespace", "shop 3"),
        ("comm", "hog 2"),
        ("scope", "memcg 3"),
    ] {
        let answer = jsons(&of_store(&store, &["top", "--by", by])).remove(0);
        let first = &answer["rows"][0];
        let told = format!(
            "{} {}",
            first["key"].as_str().unwrap_or("?"),
            first["kills"]
        );
        assert_eq!(told, expected, "{answer}");
        assert_eq!((&answer["by"], &answer["kills"]), (&by.into(), &4.into()));
    }
    let table = of_store(
        &store,
        &["top", "--by", "pod", "-o", "table", "--limit", "1"],
    );
    assert!(table.out.starts_with("POD"), "{}", table.out);
    assert!(
        table.out.contains("shop/cart-0      2  50.0 %"),
        "{}",
        table.out
    );
    assert!(table.err.contains("and 2 rows more"), "{}", table.err);
    let days = of_store(
        &store,
        &["top", "--by", "day", "-o", "table", "--limit", "1"],
    );
    assert!(days.out.lines().count() > 2, "{}", days.out);
    assert_eq!(
        of_store(&store, &["top", "--kind", "OomKill"]).code,
        Some(2)
    );
    let none = of_store(&store, &["top", "--unit", "x"]);
    assert_eq!(jsons(&none)[0]["kills"], 0);
}

#[test]
fn what_sinks_gave_up_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::store(dir.path());
    let none = of_store(&store, &["dead-letters"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    let dead = |thing: &str, why: &str| DeadLetter {
        seq: 1,
        thing: thing.to_owned(),
        count: 1,
        tries: 5,
        why: why.to_owned(),
    };
    let delivered = |sink: &str, dead| Delivered {
        sink: sink.into(),
        database: 0,
        through: 1,
        state: String::new(),
        dead: vec![dead],
    };
    let batch = Batch {
        delivered: vec![
            delivered("kubernetes", dead("cart-0.x", "no such pod")),
            delivered("webhook", dead("x", "422 no such \u{1b}[31mhook")),
        ],
        ..Batch::default()
    };
    let mut writer = Store::open(&store, kept::BOOT, u64::MAX).unwrap();
    writer.commit(&batch, &Now::read()).unwrap();
    drop(writer);
    let all = jsons(&of_store(&store, &["dead-letters"]));
    assert_eq!(all.len(), 2);
    assert_eq!(
        (&all[0]["sink"], &all[0]["kind"]),
        (&"webhook".into(), &"OomKill".into())
    );
    assert_eq!(all[0]["id"], kept::id(4001));
    let table = ["dead-letters", "--sink", "webhook", "-o", "table"];
    let table = of_store(&store, &table);
    assert!(table.out.starts_with("GIVEN UP (UTC)"), "{}", table.out);
    assert!(
        table.out.contains("422 no such") && !table.out.contains('\u{1b}'),
        "{}",
        table.out
    );
    assert!(!table.out.contains("kubernetes"), "{}", table.out);
    assert!(
        table.err.contains("2 kept of all sinks, 0 dropped"),
        "{}",
        table.err
    );
}

#[test]
fn an_agent_is_asked_how_it_is() {
    let status = |unexplained: &str, ready: bool, sources: &str| {
        let status = format!(
            r#"{{"version":"0.1.0","wire_version":1,"pid":7,"started":"2026-11-20T22:01:03Z","node":"n","boot_id":null,
            "tier":"bpf, full","not_better":[],"ready":{ready},"detecting":true,"sources":[{sources}],
            "audit":{{"kernel":9,"kills":9,"instances":9,"repeats":0,"unexplained":{unexplained}}},
            "losses":{{"bare_marks":3}},"store":null,"sinks":[],"subscribers":0,"protections":[]}}"#
        );
        answer("200 OK", &status)
    };
    let chosen =
        r#"{"name":"bpf","up":false,"wanted":false,"reason":"not asked for (--source kmsg)"}"#;
    let log =
        |up: bool| format!(r#"{chosen},{{"name":"kmsg","up":{up},"wanted":true,"reason":null}}"#);
    for (status, code, words) in [
        (status("0", true, ""), 0, "every kill is told"),
        (status("0", true, &log(true)), 0, "every kill is told"),
        // Of an agent that does not say what it wants.
        (
            status(
                "0",
                true,
                r#"{"name":"bpf","up":true},{"name":"kmsg","up":false}"#,
            ),
            0,
            "every kill is told; kmsg is down",
        ),
        (
            status("0", true, &log(false)),
            7,
            "no source that can see a kill is up; kmsg is down",
        ),
        (
            status("null", true, ""),
            0,
            "nothing can prove that every kill is told",
        ),
        (
            status("2", true, ""),
            7,
            "2 kills that the kernel has counted",
        ),
        (status("0", false, ""), 7, "starting or ending"),
        (answer("200 OK", "{}"), 1, "does not understand"),
        (
            answer(
                "503 Service Unavailable",
                r#"{"title":"t","status":503,"detail":"why"}"#,
            ),
            1,
            "why",
        ),
    ] {
        let server = Server::start(vec![status]);
        let told = ask(&["status", "--socket", server.socket().to_str().unwrap()]);
        assert_eq!(told.code, Some(code), "{}{}", told.out, told.err);
        let said = told.out + &told.err;
        let said: Vec<_> = said.split_whitespace().collect();
        assert!(said.join(" ").contains(words), "{words}: {said:?}");
    }
}

#[test]
fn whoever_cannot_be_asked_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let deserted = deserted(dir.path());
    let deserted = deserted.to_str().unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::write(&foreign, "no database").unwrap();
    let missing = dir.path().join("missing");
    let (foreign, missing) = (foreign.to_str().unwrap(), missing.to_str().unwrap());
    for (args, code, words) in [
        (
            &["events", "--socket", deserted][..],
            1,
            "no agent answers at",
        ),
        (&["status", "--socket", deserted], 1, "no agent answers at"),
        (&["events", "--store", missing], 1, "there is no store at"),
        (&["events", "--store", foreign], 1, "foreign"),
        (&["events", "--url", "https://localhost:1"], 1, "--ca-file"),
        (&["events", "--url", "localhost"], 2, "not http://HOST:PORT"),
        (&["events", "--token-file", missing], 2, "--url"),
        (
            &["events", "--store", missing, "--socket", missing],
            2,
            "cannot be used with",
        ),
        (&["events", "--since", "yesterday"], 2, "how long ago"),
        (&["show"], 2, "<ID>"),
    ] {
        let told = ask(args);
        assert_eq!(told.code, Some(code), "{args:?}: {}", told.err);
        assert!(told.err.contains(words), "{args:?}: {}", told.err);
        assert_eq!(told.out, "", "{args:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::store(dir.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_oom-agent"));
    command
        .args(["events", "--store"])
        .arg(&store)
        .stdout(writer);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn a_shell_and_a_manual_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ask(&["completions", shell]);
        assert_eq!(script.code, Some(0), "{}", script.err);
        for word in ["events", "doctor", "no-trunc"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
    assert!(ask(&["man"]).out.contains(".TH oom-agent 1"));
    let dir = tempfile::tempdir().unwrap();
    let told = ask(&["man", dir.path().to_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name));
    assert!(page("oom-agent-events.1").unwrap().contains("OomInstance"));
    assert!(page("oom-agent.1").is_ok() && page("oom-agent-show.1").is_ok());
    assert!(page("oom-agent-trigger-hog.1").is_err());
}
