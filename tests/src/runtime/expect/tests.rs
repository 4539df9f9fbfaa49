//! The checks against what a perfect agent would tell, and against all that differs from it.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use oom_agent::event::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime};

use super::*;
use crate::runtime::play::{Limit, Process};

fn story() -> Story {
    let place = Place {
        path: "/kubepods/burstable/podu/c".to_owned(),
        id: 7,
        version: 1,
    };
    let container = Container {
        place: place.clone(),
        dir: "/nowhere".into(),
        owner: Owner {
            runtime: Some(Runtime::Containerd),
            container_id: Some("c".to_owned()),
            container_name: Some("app".to_owned()),
            image: Some("image".to_owned()),
            pod: Some(Pod {
                namespace: Some("shop".to_owned()),
                name: Some("cart".to_owned()),
                uid: "u".to_owned(),
                qos: Some(Qos::Burstable),
            }),
            ..Owner::of(OwnerKind::Container)
        },
        level: LimitLevel::Container,
    };
    let death = Death {
        victim: Process {
            pid: 10,
            ns_pid: 1,
            comm: "victim",
        },
        container: container.clone(),
        limit: Limit {
            place,
            level: LimitLevel::Container,
            bytes: 4096,
        },
    };
    Story {
        deaths: vec![death],
        lives: vec![Life::killed(container)],
    }
}

/// What a perfect agent would tell of that story.
fn events() -> Vec<Value> {
    let story = story();
    let owner = owner(&story.deaths[0].container);
    let cgroup = cgroup(&story.deaths[0].limit.place);
    let kill = json!({
        "kind": "OomKill", "id": "k", "instance_id": "i", "monotonic_ns": 2,
        "victim": { "pid": 10, "tid": 10, "ns_pid": 1, "comm": "victim" },
        "cgroup": cgroup, "owner": owner, "role": "chosen",
    });
    vec![
        json!({
            "kind": "ContainerCreation", "id": "c", "time": "t", "monotonic_ns": 1,
            "cgroup": cgroup, "owner": owner,
        }),
        kill.clone(),
        json!({
            "kind": "OomInstance", "id": "i", "scope": "memcg", "outcome": "killed",
            "limit": { "cgroup": cgroup, "level": "container", "limit_bytes": 4096 },
            "crosscheck": { "mismatches": [] },
            "kills": [kill],
        }),
        json!({
            "kind": "ContainerDeletion", "id": "c", "created": "t", "monotonic_ns": 3,
            "cgroup": cgroup, "owner": owner, "exit_code": 137,
        }),
    ]
}

fn finished(events: Vec<Value>, more: &str) -> Finished {
    Finished {
        status: ExitStatus::from_raw(0),
        events,
        log: vec![format!(
            "summary: unexplained=0 ring_dropped=0 malformed=0{more}"
        )],
    }
}

#[test]
fn a_perfect_agent_passes() {
    told(&finished(events(), ""), &[story()]).unwrap();
}

#[test]
fn every_field_that_differs_is_found() {
    for (event, pointer, value) in [
        (0, "/owner/container_name", json!(null)),
        (0, "/owner/unit", json!("a.service")),
        (0, "/cgroup/version", json!(2)),
        (0, "/monotonic_ns", json!(9)),
        (1, "/victim/ns_pid", json!(10)),
        (1, "/owner/image", json!(null)),
        (1, "/owner/pod/name", json!("other")),
        (1, "/cgroup/id", json!(8)),
        (2, "/limit/level", json!("pod")),
        (2, "/limit/limit_bytes", json!(1)),
        (2, "/kills/0/owner/runtime", json!(null)),
        (2, "/id", json!("other")),
        (3, "/exit_code", json!(0)),
        (3, "/created", json!(null)),
        (3, "/cgroup/id", json!(8)),
        (3, "/monotonic_ns", json!(0)),
    ] {
        let mut events = events();
        *events[event].pointer_mut(pointer).expect(pointer) = value;
        let result = told(&finished(events, ""), &[story()]);
        assert!(result.is_err(), "{event} {pointer}");
    }
}

#[test]
fn what_is_missing_or_too_much_is_found() {
    for missing in 0..events().len() {
        let mut events = events();
        events.remove(missing);
        assert!(
            told(&finished(events, ""), &[story()]).is_err(),
            "{missing}"
        );
    }
    let mut twice = events();
    twice.push(twice[0].clone());
    assert!(told(&finished(twice, ""), &[story()]).is_err());
    for path in [
        "/kubepods/burstable/podu/c/nested",
        "/kubepods/burstable/podu/d",
        CONMON,
    ] {
        let mut events = events();
        let stranger = json!({ "path": path, "id": 9, "version": 1 });
        events.push(json!({ "kind": "ContainerCreation", "id": "s", "cgroup": stranger }));
        assert!(told(&finished(events, ""), &[story()]).is_err(), "{path}");
    }
    let unattributed = finished(events(), " unattributed=1");
    assert!(told(&unattributed, &[story()]).is_err());
}

fn moment() -> Moment {
    let mut moment = Moment {
        place: story().deaths[0].limit.place.clone(),
        owner: story().deaths[0].container.owner.clone(),
    };
    moment.place.path = format!("{POD}/c");
    moment
}

/// What is told of that, with one value changed.
fn moment_told(pointer: &str, value: &Value) -> Finished {
    let moment = moment();
    let (cgroup, owner) = (cgroup(&moment.place), json!(moment.owner));
    let mut came = json!({ "kind": "ContainerCreation", "cgroup": cgroup, "owner": owner });
    let went = json!({ "kind": "ContainerDeletion", "cgroup": cgroup, "owner": owner });
    *came.pointer_mut(pointer).expect(pointer) = value.clone();
    finished(vec![came, went], "")
}

#[test]
fn of_a_moment_only_what_was_on_disk_may_be_missing() {
    let told = |pointer, value| moments(&moment_told(pointer, &value), &[moment()]);
    for on_disk in ["/owner/runtime", "/owner/image", "/owner/pod/name"] {
        assert_eq!(told(on_disk, json!(null)).unwrap(), [1, 1]);
        assert!(told(on_disk, json!("other")).is_err(), "{on_disk}");
    }
    for by_path in [
        "/owner/kind",
        "/owner/container_id",
        "/owner/pod/uid",
        "/cgroup/id",
    ] {
        assert!(told(by_path, json!(null)).is_err(), "{by_path}");
    }
    // Gone without having come; nobody made it.
    assert!(told("/kind", json!("OomKill")).is_err());
    assert!(told("/cgroup/path", json!(format!("{POD}/d"))).is_err());
}
