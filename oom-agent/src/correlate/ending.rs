//! What has been told of one victim's end, and what that comes to.

use serde::{Deserialize, Serialize};

use crate::event::{End, EndSource, Memory, OomKill, Reaper};

/// What the sources have said so far; moments on `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is told by itself")]
pub(super) struct Ending {
    /// Somebody waits for it and will tell.
    #[serde(default)]
    pub(super) watched: bool,
    /// Nobody will tell more.
    #[serde(default)]
    pub(super) settled: bool,
    /// Nobody waits for it, and the kernel's programs tell of it all the same.
    #[serde(default)]
    pub(super) kernel_tells: bool,
    /// It has been told to be stuck.
    #[serde(default)]
    pub(super) stuck: bool,
    /// Who was not reaped by now did not need it.
    #[serde(default)]
    pub(super) tells_reaper: bool,
    #[serde(default)]
    pub(super) exit: Option<Exit>,
    /// When, and what was resident still.
    #[serde(default)]
    pub(super) freed: Option<(u64, u64)>,
    #[serde(default)]
    pub(super) reaping_ns: Option<u64>,
    #[serde(default)]
    pub(super) reaped_ns: Option<u64>,
    #[serde(default)]
    pub(super) left_bytes: Option<u64>,
}

/// The last thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    pub(super) monotonic_ns: u64,
    pub(super) source: EndSource,
    pub(super) at_most: bool,
}

impl Ending {
    /// Whether nothing is to be waited for. As long as somebody waits for it the kernel's word is not the end: a
    /// process may be held up after that, with its memory (since 6.16) or its files. `log`: whether the log may
    /// still say what the reaper did.
    pub(super) fn is_complete(&self, reaper: Option<Reaper>, log: bool) -> bool {
        let said = self.reaping_ns.is_none() || reaper.is_some() || !log;
        let ended = self.exit.is_some() && self.freed.is_some() && !self.watched;
        (self.settled || ended) && said
    }

    /// Whether it is there still, as far as somebody looks.
    pub(super) const fn lives(&self) -> bool {
        self.watched && !self.settled
    }

    /// Whether its end may still be told after its report.
    pub(super) const fn may_come(&self) -> bool {
        self.lives() || (self.kernel_tells && !self.settled && self.exit.is_none())
    }

    /// Somebody sees it there: what the kernel told was only the beginning of the end.
    pub(super) fn is_stuck(&mut self) {
        self.stuck = true;
        self.exit = None;
    }

    /// Nobody waits any more, and nobody will tell. Whether its end stays unknown by that.
    pub(super) fn abandon(&mut self) -> bool {
        let missed = self.lives() && self.exit.is_none();
        self.settled = true;
        missed
    }

    /// The kernel saw a thread end that was the last, or one of those that ended at once.
    pub(super) fn exited(&mut self, monotonic_ns: u64, left_bytes: Option<u64>) {
        let later = |exit: Exit| exit.source == EndSource::Bpf && exit.monotonic_ns > monotonic_ns;
        if self.exit.is_some_and(later) {
            return;
        }
        self.exit = Some(Exit {
            monotonic_ns,
            source: EndSource::Bpf,
            at_most: false,
        });
        // Where the tracepoint of the memory is not there; where it is, that has come before.
        if let Some(left) = left_bytes
            && self.freed.is_none_or(|(_, before)| before > 0)
        {
            self.freed = Some((monotonic_ns, left));
        }
    }

    /// Somebody who looks from outside sees it gone.
    pub(super) fn gone(&mut self, monotonic_ns: u64, at_most: bool, tells_reaper: bool) {
        self.settled = true;
        self.tells_reaper = tells_reaper;
        self.exit.get_or_insert(Exit {
            monotonic_ns,
            source: EndSource::Pidfd,
            at_most,
        });
    }

    /// Puts it into a kill.
    pub(super) fn add_to(&self, kill: &mut OomKill, mark_ns: u64) {
        let told = self.exit.is_some() || self.freed.is_some();
        if kill.reaper.is_none() && told && self.tells_reaper && self.reaping_ns.is_none() {
            kill.reaper = Some(Reaper::NotNeeded);
        }
        kill.end = self.end(mark_ns, &kill.memory);
    }

    fn end(&self, mark_ns: u64, at_mark: &Memory) -> Option<End> {
        let after = |at: u64| at.saturating_sub(mark_ns);
        let freed = |(_, left): (u64, u64)| Some(at_mark.rss_bytes()?.saturating_sub(left));
        let exit = self.exit.filter(|_| !self.lives());
        let end = End {
            still_alive: self.lives(),
            exit_after_ns: exit.map(|exit| after(exit.monotonic_ns)),
            exit_source: exit.map(|exit| exit.source),
            at_most: exit.is_some_and(|exit| exit.at_most),
            freed_after_ns: self.freed.map(|(at, _)| after(at)),
            freed_bytes: self.freed.and_then(freed),
            reaping_started_after_ns: self.reaping_ns.map(after),
            reaping_finished_after_ns: self.reaped_ns.map(after),
            reaping_left_bytes: self.left_bytes,
        };
        (end != End::default()).then_some(end)
    }
}
