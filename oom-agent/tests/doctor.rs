//! The doctor on this machine. Alone in its process: the self-check of the programs compares what
//! the kernel says of a process with `/proc/self`, and other tests would start threads in between.

use std::{collections::HashSet, path::Path};

use oom_agent::{
    doctor::{self, State, Tier, render},
    render::text::TextStyle,
};

#[test]
fn this_machine() {
    let report = doctor::run(Path::new("/"));
    let mut text = String::new();
    render::text(&report, TextStyle::default(), &mut text);

    let names: HashSet<_> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), report.checks.len(), "a name is unique\n{text}");
    for check in &report.checks {
        let bad = matches!(check.state, State::Missing | State::Degraded);
        assert!(!bad || check.cost.is_some(), "{check:?}");
    }
    let state = |name: &str| {
        let check = report.checks.iter().find(|check| check.name == name);
        check.map(|check| check.state)
    };
    assert_eq!(report.usable, report.tier != Tier::None);
    if state("BPF programs") == Some(State::Ok) {
        assert!(
            matches!(report.tier, Tier::BpfFull | Tier::BpfStack),
            "{text}"
        );
    }
    if rustix::process::geteuid().is_root() && state("CAP_SYSLOG") == Some(State::Ok) {
        assert!(report.usable, "{text}");
    }
    if state("memory cgroups").is_some_and(|state| state != State::Missing) {
        for found in ["cgroup watch", "inotify", "memory history"] {
            assert!(state(found).is_some(), "{found}\n{text}");
        }
    }
    if state("BPF programs") == Some(State::Ok) {
        assert_eq!(state("cgroup watch"), Some(State::Ok), "{text}");
    }
    for found in [
        "containerd",
        "CRI-O, podman",
        "docker",
        "runc, crun",
        "kubelet",
    ] {
        assert!(state(found).is_some(), "{found}\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap_or_default();
    assert_eq!(json["checks"].as_array().map(Vec::len), Some(names.len()));
}
