//! Whether a higher limit would have helped, and whose.
//!
//! Rests on one fact of the kernel: a charge goes from the cgroup upwards and fails at the first level
//! without room (`page_counter_try_charge`). So only the limit that was hit gives more room.

use super::{bullet, heading, level_of, share::percent, with_article};
use crate::{
    cgroup_path::attribute,
    event::{LimitLevel, OomInstance, Outcome, OwnerKind, Scope},
    render::{escape::name, flow::Lines, report::chosen, words::Level},
};

pub(super) fn tell(lines: &mut Lines, event: &OomInstance) {
    heading(lines, "Would a higher limit have helped?");
    for sentence in sentences(event) {
        bullet(lines).say(&sentence);
    }
}

/// What can be concluded, most important first.
pub(super) fn sentences(event: &OomInstance) -> Vec<String> {
    match event.scope {
        Some(Scope::System) => of_machine(),
        Some(Scope::Cpuset) => of_nodes("cpuset", "cpuset.mems"),
        Some(Scope::Mempolicy) => of_nodes("memory policy", "the policy (numactl, mbind)"),
        Some(Scope::Sysrq) => {
            vec!["No: nothing had run out. Somebody asked for the kill.".to_owned()]
        }
        Some(Scope::Memcg) => of_cgroup(event),
        None => vec!["Unknown: no source could tell what ran out.".to_owned()],
    }
}

fn of_machine() -> Vec<String> {
    vec![
        "No: no cgroup was at its limit, the machine was out of memory. A higher limit for the victim changes nothing.".to_owned(),
        "What helps: more memory, less of it in use, or limits (and requests) that keep the others within what the machine has.".to_owned(),
    ]
}

fn of_nodes(what: &str, where_to: &str) -> Vec<String> {
    vec![
        format!(
            "No: the memory nodes that the {what} allows were full, whatever other nodes had free."
        ),
        format!("What helps: more nodes in {where_to}, or less memory in use on them."),
    ]
}

fn of_cgroup(event: &OomInstance) -> Vec<String> {
    let Some(limit) = &event.limit else {
        return vec![
            "A limit of a memory cgroup was hit, but no source could tell whose, so which one to raise is unknown.".to_owned(),
        ];
    };
    let Some(kill) = chosen(event) else {
        let path = limit.cgroup.path.as_deref().map(name);
        return vec![format!(
            "Only a higher limit of {} {} gives more room.",
            with_article(limit.level),
            path.as_deref().unwrap_or("(of unknown path)"),
        )];
    };
    let victim = kill.cgroup.as_ref();
    let place = |path: &Option<String>| path.as_deref().map(attribute);
    let of_victim = victim.and_then(|cgroup| place(&cgroup.path));
    // A runtime (crun, systemd) puts the processes into a cgroup of their own below the one with the limit.
    let inner = of_victim.as_ref().is_some_and(|victim| {
        victim.level == LimitLevel::Nested
            && limit.level != Some(LimitLevel::Nested)
            && Some(&victim.owner) == place(&limit.cgroup.path).as_ref().map(|it| &it.owner)
    });
    // One that only its files tell of: by its path the limit is anybody's, and all below it is its container's.
    let claimed = kill
        .owner
        .as_ref()
        .is_some_and(|it| it.kind == OwnerKind::Container)
        && limit.level == Some(LimitLevel::Container)
        && place(&limit.cgroup.path).is_some_and(|it| it.level != LimitLevel::Container);
    let in_pod = of_victim
        .as_ref()
        .is_some_and(|victim| victim.owner.pod.is_some());
    let mut told = Vec::new();
    let stands = match Level::of(limit, victim) {
        Level::Above(_) if inner || claimed => Level::Own,
        stands => stands,
    };
    match stands {
        Level::Own => {
            told.push(format!(
                "Yes, for a while: it was {} own limit that was hit.",
                possessive(limit.level)
            ));
            if in_pod && limit.level == Some(LimitLevel::Container) {
                told.push("The pod's limit, if it has one, was not what stopped it.".to_owned());
            }
        }
        Level::Above(_) => {
            let path = limit.cgroup.path.as_deref().map(name);
            told.push(format!(
                "Not {}: its own limit was not hit. Only a higher limit of {} {} gives more room, or less memory in use by its other members.",
                victims_own(of_victim.as_ref().map(level_of)),
                with_article(limit.level),
                path.as_deref().unwrap_or("(of unknown path)"),
            ));
        }
        Level::Elsewhere | Level::Unknown => {
            told.push("It is not known how the limit stands to the victim's cgroup. Only the limit that was hit gives more room.".to_owned());
        }
    }
    told.extend(growth(event));
    told
}

/// Whether the victim was the one that filled it.
fn growth(event: &OomInstance) -> Option<String> {
    if event.outcome != Some(Outcome::Killed) {
        return None;
    }
    let limit = event.limit.as_ref()?;
    let held = chosen(event)?.memory.rss_bytes()?;
    let share = percent(held, limit.limit_bytes?)?;
    Some(match share {
        80.. => "Almost all of it was the victim's: if it leaks, a higher limit only delays the next kill.".to_owned(),
        30..80 => format!("The victim held {share} % of it: look at the others too."),
        _ => format!("The victim held only {share} % of it: most of the memory is elsewhere, see above."),
    })
}

fn possessive(level: Option<LimitLevel>) -> &'static str {
    match level {
        Some(LimitLevel::Pod) => "the pod's",
        Some(LimitLevel::Slice) => "the slice's",
        _ => victims_own(level),
    }
}

fn victims_own(level: Option<LimitLevel>) -> &'static str {
    match level {
        Some(LimitLevel::Container) => "the container's",
        Some(LimitLevel::Machine) => "the machine's",
        Some(LimitLevel::Job) => "the job's",
        Some(LimitLevel::Unit) => "the unit's",
        _ => "the victim's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cgroup, Limit, LimitSource, OomKill};

    const POD: &str = "/kubepods/burstable/pod6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

    fn cgroup(path: &str) -> Cgroup {
        Cgroup {
            path: Some(path.to_owned()),
            id: None,
            version: None,
        }
    }

    /// A victim of 90 of 100 bytes, in one cgroup, with the limit of another.
    fn advice(scope: Option<Scope>, limit: Option<&str>, victim: &str) -> String {
        let mut kill = OomKill::for_tests();
        kill.cgroup = Some(cgroup(victim));
        kill.memory.anon_bytes = Some(90);
        kill.memory.file_bytes = Some(0);
        kill.memory.shmem_bytes = Some(0);
        let mut event = OomInstance::for_tests(vec![kill]);
        event.scope = scope;
        event.limit = limit.map(|path| Limit {
            cgroup: cgroup(path),
            level: Some(attribute(path).level),
            limit_bytes: Some(100),
            usage_bytes: Some(100),
            failcnt: None,
            source: LimitSource::Kmsg,
        });
        sentences(&event).join(" ")
    }

    #[test]
    fn only_the_limit_that_was_hit_gives_room() {
        let container = format!("{POD}/{}", "4f1d".repeat(16));
        let memcg = Some(Scope::Memcg);
        let own = advice(memcg, Some(&container), &container);
        assert!(
            own.starts_with("Yes, for a while: it was the container's own"),
            "{own}"
        );
        assert!(own.contains("leaks"), "{own}");
        let inner = advice(memcg, Some(&container), &format!("{container}/container"));
        assert_eq!(inner, own, "its runtime's own level in between");
        for victim in [&container, &format!("{container}/container")] {
            let pods = advice(memcg, Some(POD), victim);
            assert!(pods.starts_with("Not the container's"), "{pods}");
            assert!(pods.contains("higher limit of the pod"), "{pods}");
        }
        assert!(advice(memcg, None, &container).contains("whose"));
        assert!(advice(memcg, Some("/other"), &container).starts_with("It is not known"));
    }

    #[test]
    fn no_limit_helps_where_none_was_hit() {
        for scope in [Scope::System, Scope::Cpuset, Scope::Mempolicy, Scope::Sysrq] {
            assert!(
                advice(Some(scope), None, "/a").starts_with("No: "),
                "{scope:?}"
            );
        }
        assert!(advice(None, None, "/a").starts_with("Unknown"));
    }
}
