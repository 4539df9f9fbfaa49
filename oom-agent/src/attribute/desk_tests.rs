//! Events and their names: what is known before the kill, what is asked for, and what waits for whom.

use std::sync::Arc;

use super::{
    ContainerEvents, Desk,
    claim::owner_of,
    desk::{AGAIN_NS, NAMES_NS},
};
use crate::{
    clock::Now,
    event::{Cgroup, Event, LimitLevel, LimitSource, OomInstance, OomKill, OwnerKind},
    evidence::{CgroupEvidence, Found, KnownCgroup, Lookup, Names, PodNames, Unreadable},
    host::Host,
};

const ID: &str = "4f1d0b7f4c1de9116b1f0c2e7d3a4f559a610b7f4c1de9114f1d0b7f4c1de911";
const UID: &str = "6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

fn pod() -> String {
    format!("/kubepods/burstable/pod{UID}")
}

fn app() -> String {
    format!("{}/{ID}", pod())
}

fn app_names() -> Names {
    Names {
        container_id: Some(ID.to_owned()),
        container_name: Some("app".to_owned()),
        image: Some("shop/cart:1".to_owned()),
        pod: Some(PodNames {
            namespace: Some("shop".to_owned()),
            name: Some("cart".to_owned()),
            uid: Some(UID.to_owned()),
        }),
        ..Names::default()
    }
}

#[test]
fn a_pod_that_the_path_does_not_tell_is_told_by_roots_files_alone() {
    let sandbox = Names {
        container_name: None,
        image: None,
        sandbox: true,
        ..app_names()
    };
    let nameless = |names: &Names| Names {
        pod: names.pod.clone().map(|pod| PodNames { uid: None, ..pod }),
        ..names.clone()
    };
    let user = "/user.slice/user-7.slice/user@7.service/user.slice";
    for (path, names, uid) in [
        (format!("/kata_overhead/{ID}"), sandbox.clone(), Some(UID)),
        (format!("/kata_overhead/{ID}/x"), sandbox.clone(), Some(UID)),
        // A pod is its uid; without that it is none.
        (format!("/kata_overhead/{ID}"), nameless(&sandbox), None),
        (format!("{user}/libpod-{ID}.scope"), sandbox.clone(), None),
    ] {
        let owner = owner_of(&path, Some(&names));
        assert_eq!(owner.container_id.as_deref(), Some(ID), "{path}");
        let pod = owner.pod.as_ref();
        assert_eq!(pod.map(|pod| &*pod.uid), uid, "{path}");
        let name = pod.and_then(|pod| pod.name.as_deref());
        assert_eq!(name, uid.map(|_| "cart"), "{path}");
        assert_eq!(pod.and_then(|pod| pod.qos), None);
    }
}

/// The name of a pod of podman's is nowhere to be read: nothing is missing.
#[test]
fn a_container_in_a_pod_of_podmans_is_told_in_full() {
    let path = format!("/libpod_parent/{}/libpod-{ID}", ID.replace('4', "5"));
    let mut bench = Bench::new(ContainerEvents::None);
    let names = Names {
        pod: None,
        ..app_names()
    };
    bench.named(&path, 7, Found::Created, names);
    bench.report(1, at(&path, Some(7)), &path);
    assert_eq!(bench.desk.counts().unattributed, 0);
}

struct Bench {
    desk: Desk,
    now: Now,
    out: Vec<Event>,
}

impl Bench {
    fn new(which: ContainerEvents) -> Self {
        let mut desk = Desk::new(Host::new("b-o-o-t", "node"), which);
        desk.answered(true);
        Self {
            desk,
            now: Now {
                monotonic_ns: 1_000_000_000,
                ..Now::default()
            },
            out: Vec::new(),
        }
    }

    fn known(&mut self, path: &str, id: u64, found: Found, lookup: Lookup) -> &mut Self {
        let known = CgroupEvidence::Known(KnownCgroup {
            path: path.into(),
            id: (id > 0).then_some(id),
            version: 2,
            monotonic_ns: self.now.monotonic_ns,
            found,
            lookup,
        });
        self.observe(known)
    }

    fn named(&mut self, path: &str, id: u64, found: Found, names: Names) -> &mut Self {
        self.known(path, id, found, Lookup::Found(Arc::new(names)))
    }

    fn observe(&mut self, evidence: CgroupEvidence) -> &mut Self {
        self.desk.observe(evidence, self.now, &mut self.out);
        self
    }

    fn removed(&mut self, path: &str, id: u64) -> &mut Self {
        self.observe(CgroupEvidence::Removed {
            path: path.into(),
            id: Some(id),
            monotonic_ns: self.now.monotonic_ns,
            exit_code: Some(137),
        })
    }

    fn later(&mut self, ns: u64) -> &mut Self {
        self.now.monotonic_ns += ns;
        self.desk.tick(self.now, &mut self.out);
        self
    }

    fn kill(&mut self, number: u32, cgroup: Option<Cgroup>) -> &mut Self {
        let kill = self.a_kill(number, cgroup);
        let now = self.now;
        self.desk
            .take(Event::OomKill(Box::new(kill)), now, &mut self.out);
        self
    }

    fn a_kill(&self, number: u32, cgroup: Option<Cgroup>) -> OomKill {
        OomKill {
            instance_id: format!("i{number}").into(),
            monotonic_ns: Some(self.now.monotonic_ns),
            cgroup,
            ..OomKill::for_tests()
        }
    }

    fn report(&mut self, number: u32, kill: Cgroup, limit: &str) -> &mut Self {
        let kill = self.a_kill(number, Some(kill));
        let report = OomInstance {
            id: kill.instance_id.clone(),
            monotonic_ns: kill.monotonic_ns,
            limit: Some(crate::event::Limit {
                cgroup: at(limit, None),
                level: Some(LimitLevel::Cgroup),
                limit_bytes: None,
                usage_bytes: None,
                failcnt: None,
                source: LimitSource::OomControl,
            }),
            ..OomInstance::for_tests(vec![kill])
        };
        let now = self.now;
        self.desk
            .take(Event::OomInstance(Box::new(report)), now, &mut self.out);
        self
    }

    /// `K i1 app`: what has come out.
    fn story(&mut self) -> Vec<String> {
        let name = |kill: &OomKill| {
            let owner = kill.owner.as_ref();
            let name = owner.and_then(|owner| owner.container_name.clone());
            name.unwrap_or_else(|| "?".to_owned())
        };
        let tell = |event: Event| match event {
            Event::OomKill(kill) => format!("K {} {}", kill.instance_id, name(&kill)),
            Event::OomInstance(report) => format!("I {} {}", report.id, name(&report.kills[0])),
            Event::VictimEnd(end) => format!("E {}", name(&end.kill)),
            Event::OomStuck(stuck) => format!("S {}", name(&stuck.kill)),
            Event::ContainerCreation(it) => format!("+ {}", it.cgroup.path.unwrap()),
            Event::ContainerDeletion(it) => {
                format!("- {} {}", it.cgroup.path.unwrap(), it.exit_code)
            }
        };
        self.out.drain(..).map(tell).collect()
    }

    fn asks(&mut self) -> Vec<String> {
        self.desk.asks().map(|ask| ask.path.to_string()).collect()
    }
}

fn at(path: &str, id: Option<u64>) -> Cgroup {
    Cgroup {
        path: Some(path.to_owned()),
        id,
        version: Some(2),
    }
}

#[test]
fn a_container_known_before_the_kill_is_named_at_once_also_when_it_is_gone() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.named(&app(), 7, Found::Created, app_names());
    bench.later(5).removed(&app(), 7).later(5);
    bench.kill(1, Some(at(&app(), Some(7))));
    let Event::OomKill(kill) = bench.out.remove(0) else {
        panic!("an alert");
    };
    let owner = kill.owner.unwrap();
    let pod = owner.pod.unwrap();
    assert_eq!(owner.container_id.as_deref(), Some(ID));
    assert_eq!(owner.image.as_deref(), Some("shop/cart:1"));
    assert_eq!(
        (pod.namespace.as_deref(), pod.name.as_deref()),
        (Some("shop"), Some("cart"))
    );
    assert_eq!(
        (bench.asks().len(), bench.desk.counts().unattributed),
        (0, 0)
    );
}

#[test]
fn what_is_charged_to_the_pod_has_the_names_that_its_containers_tell() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.named(&app(), 7, Found::AtStart, app_names());
    bench.kill(1, Some(at(&pod(), Some(6))));
    let Event::OomKill(kill) = bench.out.remove(0) else {
        panic!("an alert");
    };
    let owner = kill.owner.unwrap();
    assert_eq!(owner.kind, OwnerKind::Pod);
    assert_eq!(owner.pod.unwrap().name.as_deref(), Some("cart"));
}

#[test]
fn a_cgroup_within_a_container_is_the_containers() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.named(&app(), 7, Found::AtStart, app_names());
    bench.kill(1, Some(at(&format!("{}/init.scope", app()), Some(9))));
    assert_eq!(bench.story(), ["K i1 app"]);
}

#[test]
fn an_alert_of_an_unknown_container_waits_for_the_answer_and_its_report_behind_it() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.kill(1, Some(at(&app(), Some(7))));
    bench
        .kill(2, Some(at("/plain", Some(3))))
        .report(1, at(&app(), Some(7)), &app());
    assert_eq!(bench.story(), ["K i2 ?"]);
    assert_eq!(bench.asks(), [app(), "/plain".to_owned()]);
    bench
        .later(1_000)
        .named(&app(), 7, Found::LookedUp, app_names());
    assert_eq!(bench.story(), ["K i1 app", "I i1 app"]);
    assert!(bench.desk.is_quiet());
}

#[test]
fn an_answer_that_does_not_come_holds_nothing_for_long() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.kill(1, Some(at(&app(), Some(7))));
    assert_eq!(
        bench.desk.next_deadline(),
        Some(bench.now.monotonic_ns + NAMES_NS)
    );
    assert!(bench.later(NAMES_NS - 1).story().is_empty());
    bench.later(1);
    let Event::OomKill(kill) = &bench.out[0] else {
        panic!("an alert");
    };
    assert_eq!(kill.detection_latency_ns, Some(NAMES_NS));
    assert_eq!(bench.story(), ["K i1 ?"]);
    assert_eq!(bench.desk.counts().names_late, 1);
}

#[test]
fn what_is_on_no_disk_is_not_asked_for_again_and_again() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.kill(1, Some(at(&app(), Some(7))));
    assert_eq!(bench.asks(), [app()]);
    bench.known(&app(), 7, Found::LookedUp, Lookup::Absent);
    bench.kill(2, Some(at(&app(), Some(7))));
    assert_eq!(bench.story(), ["K i1 ?", "K i2 ?"]);
    assert!(bench.asks().is_empty());
    bench.later(AGAIN_NS).kill(3, Some(at(&app(), Some(7))));
    assert_eq!(bench.asks(), [app()]);
}

#[test]
fn a_container_that_only_its_runtime_claims_is_one() {
    let mut bench = Bench::new(ContainerEvents::Containers);
    let demo = Names {
        container_id: Some("demo".to_owned()),
        container_name: Some("demo".to_owned()),
        ..Names::default()
    };
    // runc writes its state after the cgroup is made.
    bench.known("/default/demo", 7, Found::Created, Lookup::Absent);
    assert!(bench.story().is_empty());
    bench
        .later(20_000_000)
        .named("/default/demo", 7, Found::LookedUp, demo);
    assert_eq!(bench.story(), ["+ /default/demo"]);
    bench.report(1, at("/default/demo/inner", Some(8)), "/default/demo");
    bench.known("/default/demo/inner", 0, Found::LookedUp, Lookup::Absent);
    let Event::OomInstance(report) = &bench.out[0] else {
        panic!("a report");
    };
    let owner = report.kills[0].owner.as_ref().unwrap();
    assert_eq!(owner.kind, OwnerKind::Container);
    assert_eq!(owner.container_id.as_deref(), Some("demo"));
    assert_eq!(
        report.limit.as_ref().unwrap().level,
        Some(LimitLevel::Container)
    );
    assert_eq!(bench.desk.counts().unattributed, 0);
}

#[test]
fn a_file_that_names_another_container_names_nobody() {
    let mut bench = Bench::new(ContainerEvents::None);
    let other = Names {
        container_id: Some(ID.replace('4', "5")),
        ..app_names()
    };
    bench.named(&app(), 7, Found::AtStart, other);
    bench.kill(1, Some(at(&app(), Some(7))));
    assert_eq!(bench.story(), ["K i1 ?"]);
}

#[test]
fn containers_are_told_to_come_and_go_and_nothing_else_unless_asked_for() {
    for (which, expected) in [
        (ContainerEvents::None, vec![]),
        (
            ContainerEvents::Containers,
            vec![format!("+ {}", app()), format!("- {} 137", app())],
        ),
        (
            ContainerEvents::All,
            vec![
                format!("+ {}", app()),
                "+ /plain".to_owned(),
                format!("- {} 137", app()),
                "- /plain 137".to_owned(),
            ],
        ),
    ] {
        let mut bench = Bench::new(which);
        bench.named(&app(), 7, Found::Created, app_names());
        bench.known("/plain", 8, Found::Created, Lookup::NotNeeded);
        // Once is enough.
        bench.named(&app(), 7, Found::Late, app_names());
        bench
            .later(5)
            .removed(&app(), 7)
            .removed("/plain", 8)
            .removed("/plain", 8);
        assert_eq!(bench.story(), expected, "{which:?}");
    }
}

#[test]
fn one_that_a_kill_asked_for_first_comes_all_the_same() {
    let mut bench = Bench::new(ContainerEvents::Containers);
    bench.kill(1, Some(at(&app(), Some(7))));
    bench
        .later(1)
        .named(&app(), 7, Found::LookedUp, app_names());
    bench.later(1).named(&app(), 7, Found::Created, app_names());
    bench.named(&app(), 7, Found::Created, app_names());
    bench.later(1).removed(&app(), 7);
    let path = app();
    assert_eq!(
        bench.story(),
        [
            "K i1 app".to_owned(),
            format!("+ {path}"),
            format!("- {path} 137")
        ]
    );
}

#[test]
fn one_that_was_there_before_the_agent_only_goes() {
    let mut bench = Bench::new(ContainerEvents::Containers);
    bench.named(&app(), 7, Found::AtStart, app_names());
    assert!(bench.story().is_empty());
    bench.later(5);
    let began_ns = bench.now.monotonic_ns;
    bench.observe(CgroupEvidence::Scanned { began_ns });
    let Event::ContainerDeletion(event) = &bench.out[0] else {
        panic!("a deletion");
    };
    assert_eq!(
        (event.late, event.created, event.exit_code),
        (true, None, -1)
    );
}

#[test]
fn a_path_that_was_not_read_comes_from_the_id() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.named(&app(), 7, Found::AtStart, app_names());
    let unread = Cgroup {
        path: None,
        id: Some(7),
        version: Some(2),
    };
    bench.kill(1, Some(unread)).kill(2, None);
    assert_eq!(bench.story(), ["K i1 app", "K i2 ?"]);
}

/// Gone before it was looked for, and the news of it still on its way.
#[test]
fn a_cgroup_without_a_path_waits_for_the_watch_and_not_for_long() {
    let nameless = |id| {
        Some(Cgroup {
            path: None,
            id: Some(id),
            version: Some(2),
        })
    };
    let mut bench = Bench::new(ContainerEvents::None);
    bench.kill(1, nameless(7)).kill(2, nameless(8));
    assert!(bench.story().is_empty());
    bench.named(&app(), 7, Found::Created, app_names());
    assert_eq!(bench.story(), ["K i1 app"]);
    bench.later(NAMES_NS);
    assert_eq!(bench.story(), ["K i2 ?"]);
}

#[test]
fn what_cannot_be_used_and_what_was_lost_are_counted() {
    let mut bench = Bench::new(ContainerEvents::None);
    for found in [Found::Created, Found::LookedUp, Found::LookedUp] {
        bench.known(&app(), 7, found, Lookup::Unreadable(Unreadable::TooLarge));
    }
    bench.observe(CgroupEvidence::Lost { events: Some(3) });
    bench.observe(CgroupEvidence::Lost { events: None });
    let counts = bench.desk.counts();
    assert_eq!((counts.unreadable, counts.watch_lost), (1, 4));
    assert_eq!(counts.unreadable_by_reason, [0, 0, 1, 0, 0]);
}

#[test]
fn at_the_end_nothing_is_held_back() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench
        .kill(1, Some(at(&app(), Some(7))))
        .report(1, at(&app(), Some(7)), &app());
    let now = bench.now;
    bench.desk.finish(now, &mut bench.out);
    assert_eq!(bench.story(), ["K i1 ?", "I i1 ?"]);
}

#[test]
fn only_what_stays_unknown_to_the_end_is_unattributed() {
    let mut bench = Bench::new(ContainerEvents::None);
    let sandbox = Names {
        container_id: Some(ID.replace('4', "5")),
        container_name: None,
        image: None,
        sandbox: true,
        ..app_names()
    };
    let pause = format!("{}/{}", pod(), ID.replace('4', "5"));
    bench.named(&pause, 8, Found::AtStart, sandbox);
    // Late for its alert, there for its report.
    let (first, second) = (
        at(&app(), Some(7)),
        format!("{}/{}", pod(), ID.replace('4', "6")),
    );
    bench.kill(1, Some(first.clone())).later(NAMES_NS);
    bench.named(&app(), 7, Found::LookedUp, app_names());
    bench.report(1, first, &app());
    assert_eq!(bench.story(), ["K i1 ?", "I i1 app"]);
    assert_eq!(bench.desk.counts().unattributed, 0);
    // The pod has a name, the container has none.
    bench.known(&second, 9, Found::LookedUp, Lookup::Absent);
    bench.report(2, at(&second, Some(9)), &second);
    assert_eq!(bench.desk.counts().unattributed, 1);
    bench.report(3, at(&pause, Some(8)), &pause);
    bench
        .report(4, at("/plain", Some(3)), "/plain")
        .later(NAMES_NS);
    assert_eq!(bench.desk.counts().unattributed, 1);
}

#[test]
fn a_report_says_no_less_than_its_alert() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.named(&app(), 7, Found::AtStart, app_names());
    bench.kill(1, Some(at(&app(), Some(7))));
    // Forgotten meanwhile, for whatever reason.
    bench.removed(&app(), 7).later(400_000_000_000).later(1);
    bench.known(&app(), 7, Found::LookedUp, Lookup::Absent);
    bench.report(1, at(&app(), Some(7)), &app());
    assert_eq!(bench.story(), ["K i1 app", "I i1 app"]);
}

#[test]
fn a_report_says_no_less_than_an_alert_that_a_predecessor_told() {
    let mut before = Bench::new(ContainerEvents::None);
    before.named(&app(), 7, Found::AtStart, app_names());
    before.kill(1, Some(at(&app(), Some(7))));
    let Some(Event::OomKill(mut alert)) = before.out.pop() else {
        panic!("no alert");
    };
    alert.detection_latency_ns = Some(77);
    let mut next = Bench::new(ContainerEvents::None);
    next.desk.told_before(&alert);
    next.report(1, at(&app(), Some(7)), &app()).later(NAMES_NS);
    let Some(Event::OomInstance(report)) = next.out.pop() else {
        panic!("no report");
    };
    assert_eq!(report.kills[0].owner, alert.owner);
    assert_eq!(report.kills[0].detection_latency_ns, Some(77));
    assert_eq!(next.desk.counts().unattributed, 0);
}

#[test]
fn within_a_container_it_is_the_container_that_is_asked_for() {
    let mut bench = Bench::new(ContainerEvents::None);
    bench.kill(1, Some(at(&format!("{}/inner", app()), Some(9))));
    assert_eq!(bench.asks(), [app()]);
    assert!(bench.story().is_empty());
    bench.named(&app(), 0, Found::LookedUp, app_names());
    assert_eq!(bench.story(), ["K i1 app"]);
}

#[test]
fn questions_that_nobody_answers_are_given_up() {
    let mut bench = Bench::new(ContainerEvents::None);
    for number in 0..2000 {
        bench.kill(number, Some(at(&format!("/plain-{number}"), None)));
        bench.later(1_000_000);
    }
    assert_eq!(bench.asks().len(), 2000);
    bench.kill(9999, Some(at(&app(), Some(7))));
    assert_eq!(bench.asks(), [app()]);
}
