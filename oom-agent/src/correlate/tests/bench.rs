//! The bench: steps of evidence in, events out, told in short; and what evidence is made of, where a test does not care.

use std::sync::Arc;

use crate::{
    clock::Now,
    correlate::{Correlator, Host, Timing},
    event::{Cgroup, Constraint, Event, Memory, OomInstance, OomKill, Role, Scope, Victim},
    evidence::{
        Asker, Charge, Decision, Evidence, Feed, KmsgEnd, KmsgEvidence, KmsgKill, KmsgReport,
        Level, Mark, Verdict,
    },
    text::Comm,
};

pub(super) const MS: u64 = 1_000_000;

/// Feeds steps to a correlator and tells what came out.
pub(super) struct Bench {
    pub(super) correlator: Correlator,
    pub(super) out: Vec<Event>,
}

impl Bench {
    pub(super) fn new(bpf: bool, kmsg: bool) -> Self {
        let host = Host::new("b007-1d", "node");
        let mut bench = Self {
            correlator: Correlator::new(host, Timing::default()),
            out: Vec::new(),
        };
        for (source, up) in [(Feed::Bpf, bpf), (Feed::Kmsg, kmsg)] {
            bench.at(0, Evidence::SourceState { source, up });
        }
        bench.at(0, counted(1000));
        bench
    }

    pub(super) fn at(&mut self, ms: u64, evidence: Evidence) -> &mut Self {
        self.pass(ms);
        self.correlator.observe(evidence, now(ms), &mut self.out);
        self
    }

    pub(super) fn pass(&mut self, ms: u64) -> &mut Self {
        self.correlator.tick(now(ms), &mut self.out);
        self
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.out
    }

    pub(super) fn kills(&self) -> Vec<&OomKill> {
        self.out
            .iter()
            .filter_map(|event| match event {
                Event::OomKill(kill) => Some(&**kill),
                _ => None,
            })
            .collect()
    }

    pub(super) fn instances(&self) -> Vec<&OomInstance> {
        self.out
            .iter()
            .filter_map(|event| match event {
                Event::OomInstance(instance) => Some(&**instance),
                _ => None,
            })
            .collect()
    }

    /// `K<tid>` for a kill, `I[<tids>]` for a report with kills, `I!<outcome>` for one without.
    pub(super) fn story(&self) -> String {
        let words: Vec<String> = self
            .out
            .iter()
            .map(|event| match event {
                Event::OomKill(kill) => format!("K{}", kill.victim.tid),
                Event::OomInstance(instance) if instance.kills.is_empty() => {
                    let outcome = instance.outcome.map(|outcome| format!("{outcome:?}"));
                    format!("I!{}", outcome.as_deref().unwrap_or("Unknown"))
                }
                Event::ContainerCreation(_) | Event::ContainerDeletion(_) => "C".to_owned(),
                Event::VictimEnd(end) => format!("E{}", end.kill.victim.tid),
                Event::OomStuck(stuck) => format!("S{}", stuck.kill.victim.tid),
                Event::OomInstance(instance) => {
                    let tids: Vec<String> = instance
                        .kills
                        .iter()
                        .map(|kill| kill.victim.tid.to_string())
                        .collect();
                    format!("I[{}]", tids.join(","))
                }
            })
            .collect();
        words.join(" ")
    }
}

pub(super) fn counted(oom_kill: u64) -> Evidence {
    Evidence::Counter {
        oom_kill,
        read_ns: 0,
    }
}

pub(super) fn now(ms: u64) -> Now {
    Now {
        monotonic_ns: ms * MS,
        wall_offset_ns: 0,
        boot_offset_ns: 0,
    }
}

pub(super) fn mark(ms: u64, tid: u32) -> Mark {
    let charge = |limit| Charge {
        usage_bytes: 4 << 20,
        limit_bytes: limit,
        failcnt: 7,
        oom_group: Some(false),
    };
    Mark {
        monotonic_ns: ms * MS,
        victim: Victim {
            pid: Some(tid),
            tid,
            comm: Comm::new(b"hog"),
            uid: Some(0),
            ..Default::default()
        },
        start_boottime_ns: Some(u64::from(tid) * 1000),
        levels: vec![
            Level {
                id: 12,
                path: Some("/a/b".into()),
                memcg: true,
                charge: Some(charge(None)),
            },
            Level {
                id: 11,
                path: Some("/a".into()),
                memcg: true,
                charge: Some(charge(Some(4 << 20))),
            },
            Level {
                id: 1,
                path: Some("/".into()),
                memcg: true,
                charge: Some(charge(None)),
            },
        ],
        cgroup_version: Some(2),
        asker: Asker {
            pid: 7,
            tid: 7,
            comm: Comm::new(b"asker"),
            ..Default::default()
        },
        verdict: Verdict::Kill,
        scope: Some(Scope::Memcg),
        role: Some(Role::Chosen),
        ..Default::default()
    }
}

pub(super) fn in_group(mut mark: Mark, role: Role) -> Mark {
    mark.role = Some(role);
    for level in &mut mark.levels {
        if let Some(charge) = &mut level.charge {
            charge.oom_group = Some(level.id == 11);
        }
    }
    mark
}

pub(super) fn with(verdict: Verdict, mut mark: Mark) -> Evidence {
    mark.verdict = verdict;
    if verdict != Verdict::Kill {
        mark.role = None;
    }
    Evidence::Mark(Box::new(mark))
}

pub(super) fn bpf(mark: Mark) -> Evidence {
    Evidence::Mark(Box::new(mark))
}

pub(super) fn kmsg_kill(ms: u64, tid: u32) -> KmsgKill {
    KmsgKill {
        decision: 5000 + u64::from(tid),
        seq: 5000 + u64::from(tid),
        monotonic_ns: ms * MS,
        tid,
        comm: Comm::new(b"hog"),
        uid: Some(0),
        oom_score_adj: None,
        memory: Memory::default(),
        role: Role::Chosen,
        scope: None,
        group: None,
        report: None,
        sacrificed: false,
        reaper: None,
        reaper_left_bytes: None,
    }
}

pub(super) fn killed(kill: KmsgKill) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::Killed(Box::new(kill)))
}

pub(super) fn log(ms: u64, tid: u32) -> Evidence {
    killed(kmsg_kill(ms, tid))
}

pub(super) fn end(ms: u64, decision: u64) -> KmsgEnd {
    KmsgEnd {
        decision,
        seq: decision,
        monotonic_ns: ms * MS,
        report: None,
    }
}

pub(super) fn exiting(ms: u64, decision: u64) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::AlreadyExiting {
        end: end(ms, decision),
        tid: 50,
        comm: Comm::new(b"x"),
    })
}

/// The decision of a group whose chosen one is thread 50.
pub(super) const GROUP: u64 = 5050;

pub(super) fn log_member(ms: u64, tid: u32) -> Evidence {
    killed(KmsgKill {
        decision: GROUP,
        role: Role::GroupMember,
        group: Some("/a".into()),
        ..kmsg_kill(ms, tid)
    })
}

pub(super) fn group_notice(ms: u64) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::GroupKill {
        decision: GROUP,
        seq: 1,
        monotonic_ns: ms * MS,
        cgroup: "/a".into(),
    })
}

pub(super) fn report(tid: u32) -> Arc<KmsgReport> {
    Arc::new(KmsgReport {
        complete: true,
        trigger_comm: Some(Comm::new(b"asker")),
        trigger_tid: Some(7),
        order: Some(0),
        constraint: Some(Constraint::Memcg),
        oom_memcg: Some("/a".into()),
        task_memcg: Some("/a/b".into()),
        victim_comm: Some(Comm::new(b"hog")),
        victim_tid: Some(tid),
        ..Default::default()
    })
}

pub(super) fn decision(ms: u64, chosen: &Mark) -> Evidence {
    Evidence::Decision(Box::new(Decision {
        seq: 0,
        monotonic_ns: ms * MS,
        asker: chosen.asker.clone(),
        constraint: Some(Constraint::Memcg),
        gfp_mask: 0xcc0,
        order: 0,
        total_bytes: 4 << 20,
        points: 900,
        limit: Some((
            Cgroup {
                path: Some("/a".into()),
                id: Some(11),
                version: Some(2),
            },
            Charge {
                usage_bytes: 4 << 20,
                limit_bytes: Some(4 << 20),
                failcnt: 9,
                oom_group: None,
            },
        )),
        chosen: (chosen.victim.tid, chosen.victim.tid),
        chosen_task: Some(Box::new(chosen.clone())),
    }))
}
