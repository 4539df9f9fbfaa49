//! Which limit was hit: read from the kernel's decision, else named by the log, else inferred.

use crate::{
    cgroup_path::attribute,
    event::{Cgroup, CgroupLevel, Limit, LimitSource},
    evidence::{Charge, Decision, KmsgReport, Level, Mark},
};

/// The room that a level may have left and still count as full: the kernel charges in batches of 64
/// pages (`MEMCG_CHARGE_BATCH`), and others give memory back while it decides.
const SLACK_BYTES: u64 = 64 * 4096;

/// From `oom_control`.
pub(super) fn decided(decision: &Decision) -> Option<Limit> {
    let (cgroup, charge) = decision.limit.clone()?;
    Some(limit(cgroup, charge, LimitSource::OomControl))
}

/// From the log's summary; id and version from the victim's levels, where the path is one of them.
pub(super) fn reported(report: &KmsgReport, mark: Option<&Mark>) -> Option<Limit> {
    let path = report.oom_memcg.clone()?;
    let level = mark.and_then(|mark| {
        mark.levels
            .iter()
            .find(|level| level.path.as_deref() == Some(path.as_str()))
    });
    let charge = report
        .limit
        .or(level.and_then(|level| level.charge))
        .map_or_else(
            || (None, None, None),
            |charge| {
                (
                    charge.limit_bytes,
                    Some(charge.usage_bytes),
                    Some(charge.failcnt),
                )
            },
        );
    Some(Limit {
        level: Some(attribute(&path).level),
        cgroup: Cgroup {
            path: Some(path),
            id: level.map(|level| level.id),
            version: level.and(mark).and_then(|mark| mark.cgroup_version),
        },
        limit_bytes: charge.0,
        usage_bytes: charge.1,
        failcnt: charge.2,
        source: LimitSource::Kmsg,
    })
}

/// The level that stood at its limit. A charge goes from the cgroup upwards and fails at the first
/// level without room (`page_counter_try_charge`): the fullest
/// level, and of equally full ones the lowest.
pub(super) fn inferred(mark: &Mark) -> Option<Limit> {
    let room = |level: &Level| {
        let charge = level.charge?;
        let room = charge.limit_bytes?.saturating_sub(charge.usage_bytes);
        (room <= SLACK_BYTES).then_some(room)
    };
    let (_, level) = mark
        .levels
        .iter()
        .filter_map(|level| Some((room(level)?, level)))
        .min_by_key(|(room, _)| *room)?;
    let cgroup = Cgroup {
        path: level.path.clone(),
        id: Some(level.id),
        version: mark.cgroup_version,
    };
    Some(limit(cgroup, level.charge?, LimitSource::Inferred))
}

/// Every level of the victim, as it stood at the mark.
pub(super) fn levels(mark: &Mark) -> Vec<CgroupLevel> {
    let level = |level: &Level| CgroupLevel {
        level: level.path.as_deref().map(|path| attribute(path).level),
        cgroup: Cgroup {
            path: level.path.clone(),
            id: Some(level.id),
            version: mark.cgroup_version,
        },
        usage_bytes: level.charge.map(|charge| charge.usage_bytes),
        limit_bytes: level.charge.and_then(|charge| charge.limit_bytes),
        failcnt: level.charge.map(|charge| charge.failcnt),
        oom_group: level.charge.and_then(|charge| charge.oom_group),
    };
    mark.levels.iter().map(level).collect()
}

fn limit(cgroup: Cgroup, charge: Charge, source: LimitSource) -> Limit {
    Limit {
        level: cgroup.path.as_deref().map(|path| attribute(path).level),
        cgroup,
        limit_bytes: charge.limit_bytes,
        usage_bytes: Some(charge.usage_bytes),
        failcnt: Some(charge.failcnt),
        source,
    }
}
