//! What a row says, and what it leaves out.

use super::*;
use crate::{
    cgroup_path::attribute,
    cli::table::Table,
    event::{Cgroup, ContainerDeletion, LimitLevel, LimitSource},
    render::text::TextStyle,
    text::Comm,
};

const BOOT: &str = "5f1f2e6a7f2b4a638f0e1d1f0d4c9a11";
const SECOND: i128 = 1_000_000_000;
const NOW: i128 = 1_795_298_463 * SECOND;
const POD: &str = "/kubepods/burstable/pod6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

fn cgroup(path: &str) -> Cgroup {
    Cgroup {
        path: Some(path.into()),
        id: None,
        version: None,
    }
}

fn kill(pid: u32, comm: &str, path: &str) -> OomKill {
    let mut kill = OomKill::for_tests();
    kill.id = format!("{BOOT}-{pid}-{pid}0000000000").into();
    kill.time = Some(Timestamp::from_unix_ns(NOW - 3600 * SECOND));
    kill.victim.comm = Comm::new(comm.as_bytes());
    kill.victim.pid = Some(pid);
    kill.memory.anon_bytes = Some(32 << 20);
    kill.cgroup = Some(cgroup(path));
    kill.owner = Some(attribute(path).owner);
    kill
}

fn report(kills: Vec<OomKill>, scope: Scope) -> OomInstance {
    let mut report = OomInstance::for_tests(kills);
    report.time = Some(Timestamp::from_unix_ns(NOW - 90 * SECOND));
    report.scope = Some(scope);
    report
}

fn limit(path: &str, level: LimitLevel) -> Limit {
    Limit {
        cgroup: cgroup(path),
        level: Some(level),
        limit_bytes: Some(64 << 20),
        usage_bytes: None,
        failcnt: None,
        source: LimitSource::Kmsg,
    }
}

/// Of all kinds.
fn story() -> Vec<Event> {
    let mut own = report(
        vec![kill(12, "hog", &format!("{POD}/{}", "4f1d".repeat(16)))],
        Scope::Memcg,
    );
    own.limit = Some(limit(POD, LimitLevel::Pod));

    let mut member = kill(14, "a\x1b[2Jb", "/system.slice/nginx.service");
    member.role = Role::GroupMember;
    member.backfill = true;
    let group = report(
        vec![kill(13, "nginx", "/system.slice/nginx.service"), member],
        Scope::System,
    );

    let mut nobody = report(Vec::new(), Scope::Memcg);
    nobody.id = format!("oom-{BOOT}-decision7").into();
    nobody.outcome = Some(Outcome::NoVictim);
    nobody.limit = Some(limit("/jobs", LimitLevel::Cgroup));

    let mut bare = kill(15, "", "/");
    bare.time = None;
    bare.memory.anon_bytes = None;
    bare.cgroup = None;
    bare.owner = None;
    let mut gone = ContainerDeletion::for_tests();
    gone.time = Timestamp::from_unix_ns(NOW);
    gone.cgroup = cgroup("/a b");
    vec![
        Event::OomInstance(Box::new(own)),
        Event::OomInstance(Box::new(group)),
        Event::OomInstance(Box::new(nobody)),
        Event::OomKill(Box::new(bare)),
        Event::ContainerDeletion(Box::new(gone)),
    ]
}

fn table(terminal: Option<usize>) -> String {
    let now = Timestamp::from_unix_ns(NOW);
    let rows: Vec<_> = story().iter().flat_map(|event| rows(event, now)).collect();
    Table::new(COLUMNS, TextStyle::default(), terminal).rows(&rows)
}

#[test]
fn every_kind_has_its_row() {
    let expected = r#"
TIME (UTC)           AGE  WHAT                     OWNER                                              VICTIM             MEMORY  LIMIT            ID
2026-11-21 21:01:03   1h  killed                   6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911/4f1d4f1d4f1d  hog[12]          32.0 MiB  64.0 MiB pod     12-120000
2026-11-21 21:01:03   1h  killed                   nginx.service                                      nginx[13]        32.0 MiB  whole machine    13-130000
2026-11-21 21:01:03   1h  killed (group, history)  nginx.service                                      "a\x1b[2Jb"[14]  32.0 MiB  whole machine    14-140000
2026-11-21 21:59:33   1m  no victim                /jobs                                              -                       -  64.0 MiB cgroup  decision7
unknown                -  kill                     -                                                  [15]                    -  -                15-150000
2026-11-21 22:01:03   0s  removed                  "/a b"                                             -                       -  -                -
"#;
    assert_eq!(table(None), expected.trim_start());
}

#[test]
fn a_narrow_terminal_cuts_names_and_nothing_else() {
    let narrow = table(Some(132));
    let width = |line: &str| line.chars().count();
    assert!(narrow.lines().all(|line| width(line) <= 132), "{narrow}");
    for words in [
        "6b1f0c2e…e911/4f1d4f1d4f1d",
        "whole machine",
        "12-120000",
        "\"a\\x1b[2Jb\"[14]",
    ] {
        assert!(narrow.contains(words), "{words} in\n{narrow}");
    }
}

#[test]
fn ages() {
    let at = |seconds: i128| Timestamp::from_unix_ns(seconds * SECOND);
    let now = at(1_000_000);
    for (ago, expected) in [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (7199, "1h"),
        (86_400 * 9, "9d"),
    ] {
        assert_eq!(age(Some(at(1_000_000 - ago)), now), expected);
    }
    assert_eq!(age(None, now), "-");
    assert_eq!(time(Some(at(0))), "1970-01-01 00:00:00");
    assert_eq!(time(None), "unknown");
}
