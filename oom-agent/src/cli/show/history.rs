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
    sink::{
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
        let what = match question.container {
            Some(_) => "The container",
            None => {
                name = owner_cell::pod(owner).map(|pod| escape::name(&pod).into_owned());
                "The pod"
            }
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{Cgroup, Owner, OwnerKind, Pod};

    #[test]
    fn a_pod_is_one_in_its_cluster_and_all_else_on_its_node() {
        let container = Owner {
            container_id: Some("4f1d".repeat(16)),
            ..Owner::of(OwnerKind::Container)
        };
        let named = Owner {
            container_name: Some("app".into()),
            ..container.clone()
        };
        let pod = Pod {
            namespace: Some("shop".into()),
            name: Some("cart-0".into()),
            uid: "6b1f".into(),
            qos: None,
        };
        let within = |pod: &Pod, owner: &Owner| Owner {
            pod: Some(pod.clone()),
            ..owner.clone()
        };
        let nameless = Pod {
            namespace: None,
            name: None,
            ..pod.clone()
        };
        let unit = Owner {
            unit: Some("nginx.service".into()),
            ..Owner::of(OwnerKind::Unit)
        };
        let machine = Owner {
            machine: Some("guest".into()),
            unit: Some("guest.scope".into()),
            ..Owner::of(OwnerKind::Machine)
        };
        let id = "4f1d".repeat(16);
        for (owner, expected, what, name) in [
            (
                within(&pod, &named),
                "namespace=shop pod=cart-0 container=app cluster=eu",
                "The container",
                "shop/cart-0/app",
            ),
            (
                within(&pod, &container),
                "namespace=shop pod=cart-0 cluster=eu",
                "The pod",
                "shop/cart-0",
            ),
            (
                within(&nameless, &container),
                "pod=6b1f cluster=eu",
                "The pod",
                "6b1f",
            ),
            (
                named,
                "container=app node=n cluster=eu",
                "The container",
                "app",
            ),
            (
                container,
                &format!("container={id} node=n cluster=eu"),
                "The container",
                "4f1d4f1d4f1d",
            ),
            (
                unit,
                "unit=nginx.service node=n cluster=eu",
                "The unit",
                "nginx.service",
            ),
            (
                machine,
                "unit=guest.scope node=n cluster=eu",
                "The unit",
                "guest",
            ),
            (
                Owner::of(OwnerKind::System),
                "cgroup=/a subtree=false node=n cluster=eu",
                "The cgroup",
                "/a",
            ),
        ] {
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
            let mut words = BTreeMap::from([("kind", "OomKill".to_owned())]);
            words.extend(expected.split(' ').map(|pair| {
                let (name, word) = pair.split_once('=').unwrap();
                (name, word.to_owned())
            }));
            let asked = serde_json::to_value(&same.question).unwrap();
            let asked: BTreeMap<&str, String> = (asked.as_object().unwrap().iter())
                .map(|(name, word)| {
                    (
                        &**name,
                        word.as_str()
                            .map_or_else(|| word.to_string(), str::to_owned),
                    )
                })
                .collect();
            assert_eq!(asked, words);
            assert_eq!((same.what, same.name.as_deref()), (what, Some(name)));
        }
        assert!(same(&OomKill::for_tests()).is_none());
    }
}
