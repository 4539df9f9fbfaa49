//! How often the same was hit before, and since.
//!
//! Asks for the kills of the same owner around one kill; emits a sentence. The same is the same container of
//! the same pod of a cluster; else, on the same node, the same container or unit by its name, or the same cgroup: what
//! the page counts, too (`conditions` in `page/units.js`). Kills of the same decision are not counted.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    cli::{output::Failure, owner_cell},
    client::Client,
    event::{Kind, OomKill, Timestamp},
    question::{Kinds, Question, When},
    render::{
        escape,
        flow::{Lines, Tone},
        text::TextStyle,
        units::{count, grouped},
    },
    store::Order,
};

const DAYS: i64 = 7;
const DAY_NS: i64 = 86_400_000_000_000;

/// Kills are counted up to so many.
const MOST: usize = 1000;

/// What is counted by.
#[derive(Deserialize)]
struct Other {
    instance_id: String,
    time: Option<Timestamp>,
}

/// Appends how often.
pub(super) fn tell(
    client: &mut Client,
    kill: &OomKill,
    style: TextStyle,
    out: &mut String,
) -> Result<(), Failure> {
    let (Some(time), Some(same)) = (kill.time, same(kill)) else {
        return Ok(());
    };
    let Same {
        mut question,
        what,
        name,
    } = same;
    let since = time.as_unix_ns() - i128::from(DAYS * DAY_NS);
    question.since = i64::try_from(since).ok().map(When);
    let page = client.page(&question, Order::NewestFirst, None, MOST)?;
    let (mut before, mut after) = (0, 0);
    for json in &page.events {
        let other: Other = serde_json::from_str(json.get())?;
        if *other.instance_id == *kill.instance_id {
            continue;
        }
        if other.time > Some(time) {
            after += 1;
        } else {
            before += 1;
        }
    }

    let mut lines = Lines::default();
    lines.head().say_in(Tone::Strong, "How often");
    let line = lines.below();
    line.say(what);
    if let Some(name) = name {
        line.solid(Tone::Strong, &name);
    }
    line.say("had");
    // The newest come first: what was not counted is older.
    let more = if page.next.is_some() { "at least" } else { "" };
    line.say(more);
    match (before, more) {
        (0, "") => line.say("no other kill"),
        _ => line.solid(Tone::Strong, &count(before, "other kill", "other kills")),
    };
    line.say(&format!("in the {DAYS} days before, and"));
    match after {
        0 => line.say("none"),
        _ => line.solid(Tone::Strong, &grouped(after)),
    };
    line.say("since.");
    out.push('\n');
    lines.render(style, out);
    Ok(())
}

/// What is the same.
struct Same {
    /// How to ask for its kills.
    question: Question,
    what: &'static str,
    name: Option<String>,
}

fn same(kill: &OomKill) -> Option<Same> {
    let word = |word: &Option<Arc<str>>| word.as_deref().map(str::to_owned);
    let mut question = Question {
        kind: Some(Kinds(vec![Kind::OomKill])),
        cluster: word(&kill.cluster),
        ..Question::default()
    };
    let owner = kill.owner.as_ref();
    let mut name = owner_cell::owner(owner, kill.cgroup.as_ref());
    if let Some((owner, pod)) = owner.and_then(|owner| Some((owner, owner.pod.as_ref()?))) {
        question.namespace.clone_from(&pod.namespace);
        question.pod = pod.name.clone().or_else(|| Some(pod.uid.clone()));
        // By its id it is another one after each restart.
        question.container.clone_from(&owner.container_name);
        let what = if question.container.is_some() {
            "The container"
        } else {
            name = owner_cell::pod(owner).map(|pod| escape::name(&pod).into_owned());
            "The pod"
        };
        return Some(Same {
            question,
            what,
            name,
        });
    }
    // What is called like this is another one on each node.
    question.node = word(&kill.node);
    let container = owner.and_then(|owner| {
        let name = owner.container_name.as_ref();
        name.or(owner.container_id.as_ref()).cloned()
    });
    let unit = owner.and_then(|owner| owner.unit.clone());
    let what = match (container, unit) {
        (Some(container), _) => {
            question.container = Some(container);
            "The container"
        }
        (None, Some(unit)) => {
            question.unit = Some(unit);
            "The unit"
        }
        (None, None) => {
            question.cgroup.clone_from(&kill.cgroup.as_ref()?.path);
            question.cgroup.as_ref()?;
            question.subtree = Some(false);
            "The cgroup"
        }
    };
    Some(Same {
        question,
        what,
        name,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::{Cgroup, Owner, OwnerKind, Pod};

    const ID: &str = "4f1d0b7f4c1d4f1d0b7f4c1d4f1d0b7f4c1d4f1d0b7f4c1d4f1d0b7f4c1dabcd";

    /// Owners; how it is asked for each beside kind and cluster, what it is, and its name.
    fn owners() -> [(Owner, String, &'static str, &'static str); 8] {
        let container = Owner {
            container_id: Some(ID.to_owned()),
            ..Owner::of(OwnerKind::Container)
        };
        let app = Owner {
            container_name: Some("app".into()),
            ..container.clone()
        };
        let pod = Pod {
            namespace: Some("shop".into()),
            name: Some("cart-0".into()),
            uid: "6b1f".into(),
            qos: None,
        };
        let nameless = Pod {
            namespace: None,
            name: None,
            ..pod.clone()
        };
        let within = |pod: &Pod, owner: &Owner| Owner {
            pod: Some(pod.clone()),
            ..owner.clone()
        };
        let of_unit = |kind, unit: &str| Owner {
            unit: Some(unit.into()),
            ..Owner::of(kind)
        };
        let unit = of_unit(OwnerKind::Unit, "nginx.service");
        let machine = Owner {
            machine: Some("guest".into()),
            ..of_unit(OwnerKind::Machine, "guest.scope")
        };
        let system = Owner::of(OwnerKind::System);
        let in_pod = "namespace=shop pod=cart-0";
        let by_name = format!("{in_pod} container=app");
        let by_id = format!("container={ID} node=n");
        let at = |words: &str| words.to_owned();
        [
            (within(&pod, &app), by_name, "container", "shop/cart-0/app"),
            (within(&pod, &container), at(in_pod), "pod", "shop/cart-0"),
            (within(&nameless, &container), at("pod=6b1f"), "pod", "6b1f"),
            (app, at("container=app node=n"), "container", "app"),
            (container, by_id, "container", "4f1d0b7f4c1d"),
            (
                unit,
                at("unit=nginx.service node=n"),
                "unit",
                "nginx.service",
            ),
            (machine, at("unit=guest.scope node=n"), "unit", "guest"),
            (system, at("cgroup=/a subtree=false node=n"), "cgroup", "/a"),
        ]
    }

    #[test]
    fn a_pod_is_one_in_its_cluster_and_all_else_on_its_node() {
        for (owner, expected, what, name) in owners() {
            let kill = OomKill {
                cluster: Some("eu".into()),
                node: Some("n".into()),
                owner: Some(owner),
                cgroup: Some(Cgroup {
                    path: Some("/a".into()),
                    id: None,
                    version: None,
                }),
                ..OomKill::for_tests()
            };
            let same = same(&kill).unwrap();
            let asked = serde_json::to_value(&same.question).unwrap();
            let asked: BTreeSet<_> = (asked.as_object().unwrap().iter())
                .map(|(name, word)| format!("{name}={word}").replace('"', ""))
                .collect();
            let always = "kind=OomKill cluster=eu ";
            let words = always.to_owned() + &expected;
            let words: BTreeSet<_> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(asked, words);
            assert_eq!(same.what, format!("The {what}"));
            assert_eq!(same.name.as_deref(), Some(name));
        }
        assert!(same(&OomKill::for_tests()).is_none());
    }
}
