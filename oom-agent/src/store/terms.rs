//! What an event can be found by: the words of its subjects, each once.
//!
//! Reads an event; emits its terms. The subject of an alert is its victim, those of a report are all of
//! its victims and, for cgroups, the one whose limit was hit; that of news of a container is the
//! container. Refuses empty words. The index of the store and the filters of those who watch live are
//! both made of these, so they find the same.

use std::{borrow::Cow, collections::BTreeSet};

use crate::event::{Event, OomKill, Owner, Scope, workload};

/// Above so many levels from the root a cgroup is no longer found by those above it, only by its own
/// path and the topmost: a path of 4 KiB could name 2,000 others. The kernel side reads 16.
const ANCESTORS: usize = 64;

/// What kind of word. The numbers are those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Field {
    /// Every event has it, with an empty word.
    All = 0,
    /// A cgroup by its path.
    Cgroup = 1,
    /// The same, and each one above it.
    Within = 2,
    ContainerId = 3,
    ContainerName = 4,
    PodName = 5,
    PodUid = 6,
    Namespace = 7,
    Unit = 8,
    Comm = 9,
    /// A process, or the thread of it that was named.
    Pid = 10,
    Scope = 11,
    Boot = 12,
    /// `0` or `1`.
    Backfill = 13,
    Cluster = 14,
    Node = 15,
    /// An image, and what is left of its name without digest and tag.
    Image = 16,
    /// Of a pod, by its name.
    Workload = 17,
}

/// The terms of one event.
#[derive(Debug, Default)]
pub(crate) struct Terms<'a>(BTreeSet<(Field, Cow<'a, str>)>);

impl<'a> Terms<'a> {
    /// All of them.
    pub(crate) fn of(event: &'a Event) -> Self {
        let mut terms = Self::default();
        terms.0.insert((Field::All, Cow::Borrowed("")));
        terms.add(Field::Boot, event.boot_id().map(AsRef::as_ref));
        terms.add(Field::Scope, event.scope().map(Scope::as_str));
        terms.add(Field::Backfill, Some(backfill(event.is_backfill())));
        terms.add(Field::Cluster, event.cluster().map(AsRef::as_ref));
        terms.add(Field::Node, event.node().map(AsRef::as_ref));
        match event {
            Event::OomKill(kill) => terms.kill(kill),
            Event::OomInstance(instance) => {
                instance.kills.iter().for_each(|kill| terms.kill(kill));
                let limit = instance.limit.as_ref();
                terms.cgroup(limit.and_then(|limit| limit.cgroup.path.as_deref()));
            }
            Event::VictimEnd(end) => terms.kill(&end.kill),
            Event::OomStuck(stuck) => terms.kill(&stuck.kill),
            Event::ContainerCreation(created) => {
                terms.cgroup(created.cgroup.path.as_deref());
                terms.owner(&created.owner);
            }
            Event::ContainerDeletion(deleted) => {
                terms.cgroup(deleted.cgroup.path.as_deref());
                terms.owner(&deleted.owner);
            }
        }
        terms
    }

    /// The same, beside the event.
    pub(crate) fn into_owned(self) -> Terms<'static> {
        let own = |(field, word): (Field, Cow<'a, str>)| (field, Cow::Owned(word.into_owned()));
        Terms(self.0.into_iter().map(own).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &str)> {
        self.0.iter().map(|(field, word)| (*field, word.as_ref()))
    }

    pub(super) fn has(&self, field: Field, word: &str) -> bool {
        self.0.contains(&(field, Cow::Borrowed(word)))
    }

    /// Whether a word of this field begins so.
    pub(super) fn has_prefix(&self, field: Field, prefix: &str) -> bool {
        let from = self.0.range((field, Cow::Borrowed(prefix))..);
        from.take(1)
            .any(|(of, word)| *of == field && word.starts_with(prefix))
    }

    fn add(&mut self, field: Field, word: Option<&'a str>) {
        if let Some(word) = word.filter(|word| !word.is_empty()) {
            self.0.insert((field, Cow::Borrowed(word)));
        }
    }

    fn kill(&mut self, kill: &'a OomKill) {
        let victim = &kill.victim;
        if !victim.comm.is_empty() {
            let comm = victim.comm.to_string();
            self.0.insert((Field::Comm, Cow::Owned(comm)));
        }
        for pid in victim.pid.into_iter().chain([victim.tid]) {
            self.0.insert((Field::Pid, Cow::Owned(pid.to_string())));
        }
        self.cgroup(kill.cgroup.as_ref().and_then(|c| c.path.as_deref()));
        if let Some(owner) = &kill.owner {
            self.owner(owner);
        }
    }

    fn cgroup(&mut self, path: Option<&'a str>) {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return;
        };
        if !self.0.insert((Field::Cgroup, Cow::Borrowed(path))) {
            return;
        }
        self.add(Field::Within, Some(path));
        let slashes = path.match_indices('/').map(|(at, _)| at);
        for at in slashes.take(ANCESTORS) {
            // The slash that begins a path is the root.
            self.add(Field::Within, Some(&path[..at.max(1)]));
        }
    }

    fn image(&mut self, image: Option<&'a str>) {
        self.add(Field::Image, image);
        for shorter in image.into_iter().flat_map(shorter) {
            self.add(Field::Image, Some(shorter));
        }
    }

    fn owner(&mut self, owner: &'a Owner) {
        self.add(Field::ContainerId, owner.container_id.as_deref());
        self.add(Field::ContainerName, owner.container_name.as_deref());
        self.add(Field::Unit, owner.unit.as_deref());
        self.image(owner.image.as_deref());
        if let Some(pod) = &owner.pod {
            self.add(Field::PodName, pod.name.as_deref());
            self.add(Field::Workload, pod.name.as_deref().map(workload));
            self.add(Field::PodUid, Some(&pod.uid));
            self.add(Field::Namespace, pod.namespace.as_deref());
        }
    }
}

/// The image without its digest, and without its tag: a colon behind the last slash.
fn shorter(image: &str) -> [&str; 2] {
    let tagged = image.split_once('@').map_or(image, |(tagged, _)| tagged);
    let name = tagged.rfind('/').map_or(0, |slash| slash + 1);
    let tag = tagged[name..]
        .find(':')
        .map_or(tagged.len(), |tag| name + tag);
    [tagged, &tagged[..tag]]
}

/// The word of [`Field::Backfill`].
pub(super) const fn backfill(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Cgroup, Limit, LimitSource, OomInstance, OwnerKind, Pod},
        text::Comm,
    };

    fn kill(comm: &str, pid: Option<u32>, tid: u32, path: &str) -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.victim.comm = Comm::new(comm.as_bytes());
        kill.victim.pid = pid;
        kill.victim.tid = tid;
        kill.cgroup = Some(cgroup(path));
        kill
    }

    fn cgroup(path: &str) -> Cgroup {
        Cgroup {
            path: Some(path.into()),
            id: None,
            version: None,
        }
    }

    fn words(event: &Event, field: Field) -> Vec<String> {
        let terms = Terms::of(event);
        let of = terms.iter().filter(|(of, _)| *of == field);
        of.map(|(_, word)| word.to_owned()).collect()
    }

    #[test]
    fn a_report_is_found_by_each_victim_and_by_whose_limit_was_hit() {
        let kills = vec![kill("a", Some(1), 1, "/p/a"), kill("b", Some(2), 9, "/p/b")];
        let mut report = OomInstance::for_tests(kills);
        report.limit = Some(Limit {
            cgroup: cgroup("/p"),
            level: None,
            limit_bytes: None,
            usage_bytes: None,
            failcnt: None,
            source: LimitSource::Kmsg,
        });
        let report = Event::OomInstance(Box::new(report));
        assert_eq!(words(&report, Field::Comm), ["a", "b"]);
        assert_eq!(words(&report, Field::Pid), ["1", "2", "9"]);
        assert_eq!(words(&report, Field::Cgroup), ["/p", "/p/a", "/p/b"]);
        assert_eq!(words(&report, Field::Within), ["/", "/p", "/p/a", "/p/b"]);
    }

    #[test]
    fn a_thousand_alike_are_as_many_pids_and_else_one() {
        let kills = (1..=1000).map(|pid| kill("hog", Some(pid), pid, "/a/b"));
        let report = Event::OomInstance(Box::new(OomInstance::for_tests(kills.collect())));
        // Everything, backfill, boot, node, comm, cgroup, within /, /a and itself.
        assert_eq!(Terms::of(&report).0.len(), 1000 + 9);
    }

    #[test]
    fn an_owner_is_found_by_all_of_its_names_and_an_unknown_one_by_none() {
        let mut alert = kill("", None, 7, "/");
        alert.owner = Some(Owner {
            container_id: Some("0123".into()),
            container_name: Some("app".into()),
            pod: Some(Pod {
                namespace: Some("shop".into()),
                name: Some("cart-6d4cf56db6-x2x9p".into()),
                uid: "u".into(),
                qos: None,
            }),
            unit: Some(String::new()),
            image: Some("registry:5000/shop/cart:1.4@sha256:00".into()),
            ..Owner::of(OwnerKind::Container)
        });
        alert.cluster = Some("eu".into());
        let event = Event::OomKill(Box::new(alert));
        let terms = Terms::of(&event);
        let fields: Vec<_> = terms
            .iter()
            .map(|(field, word)| (field as u8, word))
            .collect();
        assert_eq!(
            fields,
            [
                (0, ""),
                (1, "/"),
                (2, "/"),
                (3, "0123"),
                (4, "app"),
                (5, "cart-6d4cf56db6-x2x9p"),
                (6, "u"),
                (7, "shop"),
                (10, "7"),
                (12, "boot"),
                (13, "0"),
                (14, "eu"),
                (15, "node"),
                (16, "registry:5000/shop/cart"),
                (16, "registry:5000/shop/cart:1.4"),
                (16, "registry:5000/shop/cart:1.4@sha256:00"),
                (17, "cart"),
            ]
        );
        assert!(terms.has_prefix(Field::ContainerId, "01"));
        assert!(!terms.has_prefix(Field::ContainerId, "1"));
    }

    #[test]
    fn a_path_of_thousands_of_levels_has_its_topmost() {
        let path = "/a".repeat(2000);
        let event = Event::OomKill(Box::new(kill("", None, 1, &path)));
        assert_eq!(words(&event, Field::Within).len(), ANCESTORS + 1);
    }
}
