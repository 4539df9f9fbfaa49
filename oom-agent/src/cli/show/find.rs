//! Which event is meant by a word.
//!
//! Reads an id, the beginning of one behind its boot, or the number of a process; emits the event. Refuses to
//! choose between kills of different ids: it lists them.

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
struct Id {
    id: String,
    time: Option<String>,
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

pub(super) fn find(client: &mut Client, word: &str) -> Result<Found, Failure> {
    let nothing = || Failure::NotFound(format!("there is no kill {word:?}"));
    if word.is_empty() {
        return Err(nothing());
    }
    if let Some(json) = client.event(None, word)? {
        return Ok(Found { json, others: 0 });
    }
    let asked = Word::of(word);
    let mut found = candidates(client, &asked, Kind::OomKill)?;
    if found.is_empty() {
        // Of a decision that killed nobody, say.
        found = candidates(client, &asked, Kind::OomInstance)?;
    }
    if found.is_empty() {
        return Err(nothing());
    }
    let newest = found.remove(0);
    let others = found.len();
    if others > 0 && !asked.is_pid {
        let mut text = format!("{word:?} may be any of {} kills:", others + 1);
        for (id, _) in [&newest].into_iter().chain(&found).take(NAMED) {
            text.push_str("\n  ");
            text.push_str(&id.id);
            text.extend(id.time.iter().flat_map(|time| [" of ", time]));
        }
        return Err(Failure::NotFound(text));
    }
    Ok(Found {
        json: newest.1,
        others,
    })
}

/// The events that may be meant, the newest first.
fn candidates(
    client: &mut Client,
    word: &Word<'_>,
    kind: Kind,
) -> Result<Vec<(Id, Box<RawValue>)>, Failure> {
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
            let id: Id = serde_json::from_str(json.get())?;
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
