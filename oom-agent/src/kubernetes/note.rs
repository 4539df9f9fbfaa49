//! The notes of events, in words.
//!
//! Reads a kill and its report; emits at most 1,024 bytes, which is what the API server takes. Names that a
//! process has chosen are made safe to show.

use crate::{
    event::{Limit, LimitLevel, LimitSource, OomInstance, OomKill, OomStuck, Role, Scope},
    render::{
        escape::{escape, name},
        units::{bytes, duration},
        words,
    },
};

/// `NoteLengthLimit` of the API server.
const MOST: usize = 1024;

/// Digits of a container's id that command-line tools show.
const SHORT: usize = 12;

/// Of a kill in a pod: container, process, memory, and which limit was hit.
pub(super) fn of_pod(report: &OomInstance, kill: &OomKill) -> String {
    let group = match kill.role {
        Role::GroupMember => " with all others of its cgroup (memory.oom.group)",
        Role::Chosen => "",
    };
    let held = kill.memory.rss_bytes();
    let held = held.map(|rss| format!("; it held {}", bytes(rss)));
    cut(format!(
        "{}process {} was killed{group}{}; {}",
        container(kill),
        process(kill),
        held.unwrap_or_default(),
        cause(report)
    ))
}

/// Of a victim that has not ended: since when, what it still holds, and where it sleeps.
pub(super) fn of_stuck(stuck: &OomStuck) -> String {
    let held = stuck.held_bytes;
    let held = held.map(|held| format!("; it still holds {}", bytes(held)));
    let thread = stuck.thread.as_ref().map(|thread| {
        let wchan = thread.wchan.as_deref();
        let wchan = wchan.map(|wchan| format!(" in {}", escape(wchan)));
        let (tid, state) = (thread.tid, escape(&thread.state));
        let wchan = wchan.unwrap_or_default();
        format!("; its thread {tid} is in state {state}{wchan}")
    });
    cut(format!(
        "{}process {} was killed for memory {} before and has not ended{}{}",
        container(&stuck.kill),
        process(&stuck.kill),
        duration(stuck.stuck_for_ns),
        held.unwrap_or_default(),
        thread.unwrap_or_default(),
    ))
}

/// Of a kill for want of memory on the node: as the kubelet words it.
pub(super) fn of_node(kill: Option<&OomKill>) -> String {
    const BARE: &str = "System OOM encountered";
    let victim = kill.map(|kill| &kill.victim);
    let victim = victim.filter(|it| !it.comm.is_empty());
    let Some((comm, pid)) = victim.and_then(|it| Some((it.comm.to_string(), it.pid?))) else {
        return BARE.to_owned();
    };
    format!("{BARE}, victim process: {}, pid: {pid}", escape(&comm))
}

/// `Container app: `; nothing if there is none.
fn container(kill: &OomKill) -> String {
    let owner = kill.owner.as_ref();
    let container = owner.and_then(|owner| owner.container_name.as_deref());
    let id = owner.and_then(|owner| owner.container_id.as_deref());
    let container = container.or_else(|| id.map(|id| id.get(..SHORT).unwrap_or(id)));
    let container = container.map(|container| format!("Container {}: ", name(container)));
    container.unwrap_or_default()
}

fn process(kill: &OomKill) -> String {
    let comm = kill.victim.comm.to_string();
    let comm = if comm.is_empty() {
        "of unknown name".into()
    } else {
        name(&comm)
    };
    match kill.victim.pid {
        Some(pid) => format!("{comm} (pid {pid})"),
        None => format!("{comm} (tid {})", kill.victim.tid),
    }
}

fn cause(report: &OomInstance) -> String {
    match (report.scope, &report.limit) {
        (Some(Scope::Memcg), Some(limit)) => reached(limit),
        (Some(Scope::System), _) => "the node was out of memory".to_owned(),
        (scope, _) => words::cause(scope).to_owned(),
    }
}

/// `the container's memory limit of 32.0 MiB was reached`.
fn reached(limit: &Limit) -> String {
    let whose = match limit.level {
        Some(LimitLevel::Container) => "the container's memory limit".to_owned(),
        Some(LimitLevel::Pod) => "the pod's memory limit".to_owned(),
        Some(LimitLevel::Qos) => "the memory limit of all pods of its class".to_owned(),
        Some(LimitLevel::Pods) => "the node's memory limit for all pods".to_owned(),
        Some(LimitLevel::Node) => "the node's memory".to_owned(),
        _ => match &limit.cgroup.path {
            Some(path) => format!("the memory limit of the cgroup {}", name(path)),
            None => "the memory limit of a cgroup of unknown path".to_owned(),
        },
    };
    let size = limit
        .limit_bytes
        .map_or_else(String::new, |size| format!(" of {}", bytes(size)));
    let inferred = match limit.source {
        LimitSource::Inferred => " (inferred)",
        LimitSource::OomControl | LimitSource::Kmsg => "",
    };
    format!("{whose}{size} was reached{inferred}")
}

/// As much as is taken.
fn cut(mut text: String) -> String {
    const ELLIPSIS: char = '…';
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST - ELLIPSIS.len_utf8()));
        text.push(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Cgroup, Memory, Owner, OwnerKind, StuckThread},
        text::Comm,
    };

    fn kill() -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.victim.pid = Some(17);
        kill.victim.comm = Comm::new(b"java");
        kill.memory = Memory {
            anon_bytes: Some(3 << 20),
            file_bytes: Some(1 << 20),
            shmem_bytes: Some(0),
            ..Memory::default()
        };
        kill.owner = Some(Owner {
            container_name: Some("app".into()),
            ..Owner::of(OwnerKind::Container)
        });
        kill
    }

    fn limit(level: Option<LimitLevel>) -> Limit {
        Limit {
            cgroup: Cgroup {
                path: Some("/user.slice".into()),
                id: None,
                version: None,
            },
            level,
            limit_bytes: Some(4 << 20),
            usage_bytes: None,
            failcnt: None,
            source: LimitSource::OomControl,
        }
    }

    fn told(scope: Option<Scope>, limit: Option<Limit>) -> String {
        let mut report = OomInstance::for_tests(Vec::new());
        (report.scope, report.limit) = (scope, limit);
        of_pod(&report, &kill())
    }

    #[test]
    fn which_limit_was_hit_is_said() {
        let begin = "Container app: process java (pid 17) was killed; it held 4.0 MiB; ";
        let memcg = Some(Scope::Memcg);
        for (scope, limit, end) in [
            (
                memcg,
                Some(limit(Some(LimitLevel::Container))),
                "the container's memory limit of 4.0 MiB was reached",
            ),
            (
                memcg,
                Some(limit(Some(LimitLevel::Pod))),
                "the pod's memory limit of 4.0 MiB was reached",
            ),
            (
                memcg,
                Some(limit(Some(LimitLevel::Slice))),
                "the memory limit of the cgroup /user.slice of 4.0 MiB was reached",
            ),
            (memcg, None, "a memory cgroup reached its limit"),
            (Some(Scope::System), None, "the node was out of memory"),
            (None, None, "what ran out is unknown"),
        ] {
            assert_eq!(told(scope, limit), format!("{begin}{end}"));
        }
        let inferred = Limit {
            source: LimitSource::Inferred,
            limit_bytes: None,
            ..limit(Some(LimitLevel::Pods))
        };
        let end = "the node's memory limit for all pods was reached (inferred)";
        assert!(told(memcg, Some(inferred)).ends_with(end));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut kill = OomKill::for_tests();
        kill.victim.tid = 5;
        let report = OomInstance::for_tests(Vec::new());
        assert_eq!(
            of_pod(&report, &kill),
            "process of unknown name (tid 5) was killed; what ran out is unknown"
        );
        kill.role = Role::GroupMember;
        assert!(of_pod(&report, &kill).contains("(memory.oom.group)"));
    }

    #[test]
    fn the_node_is_told_of_in_the_kubelets_words() {
        assert_eq!(
            of_node(Some(&kill())),
            "System OOM encountered, victim process: java, pid: 17"
        );
        let mut unnamed = kill();
        unnamed.victim.comm = Comm::default();
        let mut log_alone = kill();
        log_alone.victim.pid = None;
        for kill in [None, Some(&unnamed), Some(&log_alone)] {
            assert_eq!(of_node(kill), "System OOM encountered");
        }
    }

    #[test]
    fn a_victim_that_is_stuck_is_told_of_with_what_is_known() {
        let mut stuck = OomStuck::for_tests();
        stuck.kill = kill();
        let bare = "Container app: process java (pid 17) was killed for memory 10.0 s before and has not ended";
        assert_eq!(of_stuck(&stuck), bare);
        stuck.held_bytes = Some(4 << 20);
        stuck.thread = Some(StuckThread {
            tid: 18,
            state: "D".into(),
            wchan: Some("nfs_wait".into()),
            ..StuckThread::default()
        });
        let more = "; it still holds 4.0 MiB; its thread 18 is in state D in nfs_wait";
        assert_eq!(of_stuck(&stuck), format!("{bare}{more}"));
    }

    #[test]
    fn hostile_names_stay_within_their_place_and_bounds() {
        let mut report = OomInstance::for_tests(Vec::new());
        report.scope = Some(Scope::Memcg);
        report.limit = Some(Limit {
            cgroup: Cgroup {
                path: Some(format!("/{}", "ü\n".repeat(2000))),
                id: None,
                version: None,
            },
            ..limit(None)
        });
        let mut kill = kill();
        kill.victim.comm = Comm::new(b"a\nb (pid 1)");
        let note = of_pod(&report, &kill);
        assert!(note.len() <= MOST && note.ends_with('…'));
        assert!(!note.contains('\n'));
        assert!(note.contains("process \"a\\nb (pid 1)\" (pid 17)"));
    }
}
