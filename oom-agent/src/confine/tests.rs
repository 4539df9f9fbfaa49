//! What is told of each protection, and what the tables of capabilities and calls must hold.

use std::{fs, path::Path};

use super::*;

fn options(without: &[Guard]) -> Options {
    Options {
        without: without.to_vec(),
        oom_score_adj: 0,
    }
}

/// On a thread of its own: what is given up does not come back.
fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn the_score_is_lowered_and_never_raised() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oom_score_adj");
    for (before, to, after) in [
        ("0\n", -900, "-900"),
        ("-998\n", -900, "-998\n"),
        ("5", 5, "5"),
    ] {
        fs::write(&file, before).unwrap();
        assert_eq!(oom_score(&file, to), State::On);
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
    }
    for bad in [dir.path(), Path::new("/nonexistent/file")] {
        assert!(
            matches!(oom_score(bad, -900), State::Off(why) if why.contains("CAP_SYS_RESOURCE"))
        );
    }
}

#[test]
fn each_can_be_left_out() {
    on_a_thread(|| {
        let confinement = Confinement::begin(&options(&GUARDS));
        confinement.threads(&[], &[]);
        confinement.system_calls(&[]);
        confinement.lock_memory();
        let off = State::Off("by --without".to_owned());
        assert!(confinement.protections().iter().all(|it| it.state == off));
        assert_eq!(confinement.told()[0], "confined by: nothing");
    });
}

#[test]
fn what_rests_on_no_new_privs_falls_with_it() {
    on_a_thread(|| {
        let without = [Guard::NoNewPrivs, Guard::Capabilities];
        let confinement = Confinement::begin(&options(&without));
        confinement.threads(&[], &[]);
        let states = confinement.protections();
        let landlock = &states[Guard::Landlock as usize];
        assert_eq!(
            landlock.state,
            State::Off("it rests on no-new-privs".to_owned())
        );
    });
}

#[test]
fn a_thread_is_confined_and_those_that_it_starts() {
    on_a_thread(|| {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&inside).unwrap();
        let confinement = Confinement::begin(&options(&[]));
        confinement.threads(&[], &[&inside]);
        let states = confinement.protections();
        let state = |guard: Guard| &states[guard as usize].state;
        assert_eq!(state(Guard::NoNewPrivs), &State::On);
        assert_ne!(state(Guard::Capabilities), &State::Later);
        let kept = on_a_thread(|| rustix::thread::capabilities(None).unwrap());
        let limits = realtime::raise_limits();
        let expected =
            if limits.priority { 0 } else { 1 << 23 } | if limits.memory { 0 } else { 1 << 14 };
        assert_eq!(kept.permitted.bits() & !expected, 0, "{kept:?}");
        fs::write(inside.join("file"), "allowed").unwrap();
        if state(Guard::Landlock) == &State::On {
            let refused = fs::write(&outside, "no").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "allowed");
        }
    });
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    on_a_thread(|| {
        let state = landlock::restrict(&[Path::new("/nonexistent/directory")]);
        let (State::Partly(why) | State::Off(why)) = state else {
            panic!("{state:?}");
        };
        assert!(
            why.contains("/nonexistent") || why.contains("CONFIG_SECURITY_LANDLOCK"),
            "{why}"
        );
    });
}

#[test]
fn what_is_on_and_what_is_not_is_told() {
    let protection = |name, state| Protection { name, state };
    let lines = told(&[
        protection(Guard::NoNewPrivs, State::On),
        protection(Guard::Landlock, State::Partly("old".to_owned())),
        protection(Guard::Seccomp, State::Off("none".to_owned())),
    ]);
    assert_eq!(
        lines,
        [
            "confined by: no-new-privs, landlock",
            "  landlock in part: old",
            "  not by seccomp: none"
        ]
    );
    let json = serde_json::to_value(protection(Guard::NoNewPrivs, State::Off("why".to_owned())));
    let wanted = serde_json::json!({"name": "no-new-privs", "state": {"off": "why"}});
    assert_eq!(json.unwrap(), wanted);
}
