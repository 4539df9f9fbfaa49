//! What runs, from the last start to the end.
//!
//! Reads nothing; emits what has been counted, at any moment and at the end. The end goes with the data:
//! first the sources, then detection, then whoever was told, the store last.

use std::time::Duration;

use super::{Keeping, Serving, delivering::Delivering, helpers::HelperThreads};
use crate::{
    detect::Detector, source::kmsg::KmsgThread, status::Counting, status::Summary, stdout::Writer,
    store::Storing,
};

/// After a stop, open reports may wait this long for what the kernel log still owes them.
const DRAIN: Duration = Duration::from_secs(1);

/// At the end, a reader of standard output may take this long.
const FLUSH: Duration = Duration::from_secs(2);

/// At the end, a disk may take this long.
const KEEP: Duration = Duration::from_secs(5);

/// Detection answers within this time, or does not turn.
const ANSWER: Duration = Duration::from_secs(1);

/// Everything that runs.
pub(super) struct Running {
    pub(super) detector: Detector,
    pub(super) helpers: HelperThreads,
    pub(super) kmsg: Option<KmsgThread>,
    pub(super) keeping: Option<Keeping>,
    pub(super) delivering: Delivering,
    pub(super) writer: Writer,
}

impl Running {
    /// What has been counted, now and later.
    pub(super) fn counting(&self) -> Counting {
        let detection = self.detector.live();
        let helpers = self.helpers.counting();
        let storing = self.keeping.as_ref().map(|keeping| &keeping.storing);
        let stored = storing.map(Storing::counting);
        let unwritten = self.writer.unwritten();
        Box::new(move || {
            Some(Summary {
                tally: detection.tally(ANSWER)?,
                helpers: helpers(),
                stored: stored.as_ref().map(|counts| counts()),
                unwritten: unwritten(),
            })
        })
    }

    /// Ends it.
    pub(super) fn stop(self, serving: Option<Serving>) -> Summary {
        self.detector.settle(DRAIN);
        if let Some(kmsg) = self.kmsg {
            kmsg.stop();
        }
        let helpers = self.helpers.stop();
        let tally = self.detector.stop();
        if let Some(serving) = serving {
            serving.stop();
        }
        self.delivering.stop();
        Summary {
            tally,
            helpers,
            stored: self.keeping.map(|keeping| keeping.finish(KEEP)),
            unwritten: self.writer.finish(FLUSH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bpf::holder,
        daemon::{delivering::LAST, serving::DISMISS},
        source::worker,
    };

    #[test]
    fn whoever_takes_over_waits_for_longer_than_an_end_may_take() {
        // Cgroups, memory, victims.
        let helpers = 3 * worker::PATIENCE;
        let end = DRAIN + helpers + DISMISS + LAST + KEEP + FLUSH;
        assert!(end < holder::PATIENCE, "{end:?}");
    }
}
