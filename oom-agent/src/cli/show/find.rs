//! Which event is meant by a word.
//!
//! Reads an id, the beginning of one behind its boot, or the number of a process; emits the event. Refuses to
//! choose between kills of different ids, and between processes of one number on several nodes: it lists them.

use std::{collections::BTreeSet, fmt::Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    cli::{
        output::Failure,
        short_id::{is_number, split_boot},
    },
    client::Client,
    event::Kind,
    question::{Kinds, Question},
    store::Order,
};

/// Events of one request.
const PAGE: usize = 1000;

/// Of an ambiguous word, so many are named.
const NAMED: usize = 5;

/// What is meant.
pub(super) struct Found {
    pub(super) json: Box<RawValue>,
    /// Older kills of a process with this number.
    pub(super) others: usize,
}

/// What the word is compared with.
#[derive(Deserialize)]
struct Told {
    id: String,
    time: Option<String>,
    cluster: Option<String>,
    node: Option<String>,
}

impl Told {
    /// `eu/node-1`; `None`: no node is named.
    fn place(&self) -> Option<String> {
        let node = self.node.as_deref()?;
        let cluster = self.cluster.iter().map(String::as_str);
        Some(cluster.chain([node]).collect::<Vec<_>>().join("/"))
    }
}

/// A word, and where what it means can be looked for.
#[derive(Debug, PartialEq, Eq)]
struct Word<'a> {
    boot: Option<&'a str>,
    /// The beginning of what stands behind the boot.
    behind: &'a str,
    /// The process, if it begins with that.
    pid: Option<u32>,
    /// It is nothing else.
    is_pid: bool,
}

impl<'a> Word<'a> {
    fn of(word: &'a str) -> Self {
        let (boot, behind) = match split_boot(word) {
            Some((boot, behind)) => (Some(boot), behind),
            None => (None, word),
        };
        let pid = behind.split('-').next().unwrap_or_default();
        let pid = is_number(pid).then(|| pid.parse().ok()).flatten();
        Self {
            boot,
            behind,
            pid,
            is_pid: boot.is_none() && is_number(word),
        }
    }

    fn means(&self, id: &str) -> bool {
        let behind = split_boot(id).map_or(id, |(_, behind)| behind);
        match self.pid {
            // Whoever has this number: a thread has another one in its id.
            Some(_) if self.is_pid => true,
            Some(_) => behind.starts_with(self.behind),
            // A number that is the beginning of another.
            None => behind == self.behind,
        }
    }
}

/// The event; `None`: there is none.
pub(super) fn find(client: &mut Client, word: &str) -> Result<Option<Found>, Failure> {
    if word.is_empty() {
        return Ok(None);
    }
    if let Some(json) = client.event(None, word)? {
        return Ok(Some(Found { json, others: 0 }));
    }
    let asked = Word::of(word);
    let mut found = candidates(client, &asked, Kind::OomKill)?;
    if found.is_empty() {
        // Of a decision that killed nobody, say.
        found = candidates(client, &asked, Kind::OomInstance)?;
    }
    match unclear(word, asked.is_pid, &found) {
        Some(text) => Err(Failure::NotFound(text)),
        None => Ok(newest(found)),
    }
}

fn newest(found: Vec<(Told, Box<RawValue>)>) -> Option<Found> {
    let others = found.len().saturating_sub(1);
    let (_, json) = found.into_iter().next()?;
    Some(Found { json, others })
}

/// Why it cannot be told which of these is meant.
fn unclear(word: &str, is_pid: bool, found: &[(Told, Box<RawValue>)]) -> Option<String> {
    let nodes: BTreeSet<_> = found.iter().filter_map(|(id, _)| id.place()).collect();
    let several = nodes.len() > 1;
    // Of one machine the last is meant.
    if found.len() < 2 || (is_pid && !several) {
        return None;
    }
    let mut text = format!("{word:?} may be any of {} kills", found.len());
    if several {
        let _ = write!(text, " on {} nodes", nodes.len());
    }
    text.push_str(if several && is_pid {
        "; the last of each:"
    } else {
        ":"
    });
    let mut named = BTreeSet::new();
    let is_named = |id: &&Told| !is_pid || named.insert(id.place());
    for id in found.iter().map(|(id, _)| id).filter(is_named).take(NAMED) {
        text.push_str("\n  ");
        text.push_str(&id.id);
        text.extend(id.time.iter().flat_map(|time| [" of ", time]));
        let place = id.place().filter(|_| several);
        text.extend(place.iter().flat_map(|place| [" on ", place]));
    }
    Some(text)
}

/// The events that may be meant, the newest first.
fn candidates(
    client: &mut Client,
    word: &Word<'_>,
    kind: Kind,
) -> Result<Vec<(Told, Box<RawValue>)>, Failure> {
    let question = Question {
        kind: Some(Kinds(vec![kind])),
        pid: word.pid,
        boot: word.boot.map(str::to_owned),
        ..Question::default()
    };
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = client.page(&question, Order::NewestFirst, after.as_deref(), PAGE)?;
        for json in page.events {
            let id: Told = serde_json::from_str(json.get())?;
            if word.means(&id.id) {
                found.push((id, json));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "5f1f2e6a7f2b4a638f0e1d1f0d4c9a11";

    #[test]
    fn a_word_means_what_begins_so_behind_the_boot() {
        let full = format!("{BOOT}-22071-38112345678901");
        let record = format!("{BOOT}-kmsg123");
        for (word, id, means) in [
            ("22071-381123", &full, true),
            ("22071-38113", &full, false),
            ("22071", &full, true),
            (full.as_str(), &full, true),
            (&format!("oom-{BOOT}-22071-38"), &full, true),
            ("kmsg123", &record, true),
            ("kmsg12", &record, false),
            ("nonsense", &full, false),
        ] {
            assert_eq!(Word::of(word).means(id), means, "{word}");
        }
    }

    #[test]
    fn of_one_number_on_several_nodes_none_is_chosen() {
        let kill = |id: &str, cluster: Option<&str>, node: Option<&str>| {
            let id = Told {
                id: id.to_owned(),
                time: Some("T".to_owned()),
                cluster: cluster.map(str::to_owned),
                node: node.map(str::to_owned),
            };
            (id, RawValue::from_string(format!("{:?}", "json")).unwrap())
        };
        let one = [
            kill("7-2", None, Some("n")),
            kill("7-1", None, Some("n")),
            kill("7-0", None, None),
        ];
        assert_eq!(unclear("7", true, &one), None);
        assert_eq!(unclear("7", true, &one[..1]), None);
        assert_eq!(unclear("7", true, &[]), None);
        assert_eq!(
            unclear("7-", false, &one[..2]).as_deref(),
            Some("\"7-\" may be any of 2 kills:\n  7-2 of T\n  7-1 of T")
        );
        let several = [
            kill("7-3", Some("eu"), Some("n")),
            kill("7-2", Some("eu"), Some("n")),
            kill("7-1", Some("us"), Some("n")),
        ];
        assert_eq!(
            unclear("7", true, &several).as_deref(),
            Some(
                "\"7\" may be any of 3 kills on 2 nodes; the last of each:\n  7-3 of T on eu/n\n  7-1 of T on us/n"
            )
        );
        assert!(unclear("7", true, &several[1..]).is_some());
        assert_eq!(unclear("7", true, &several[..2]), None);
    }

    #[test]
    fn where_it_can_be_looked_for() {
        let text = format!("{BOOT}-7-9");
        let of = |text| {
            let Word {
                boot, pid, is_pid, ..
            } = Word::of(text);
            (boot, pid, is_pid)
        };
        assert_eq!(of(&text), (Some(BOOT), Some(7), false));
        assert_eq!(of("7"), (None, Some(7), true));
        assert_eq!(of("7-9"), (None, Some(7), false));
        assert_eq!(of("kmsg7"), (None, None, false));
        assert_eq!(of("99999999999-1"), (None, None, false));
    }
}
