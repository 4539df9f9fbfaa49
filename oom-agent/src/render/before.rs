//! What memory did before the kill, and what its cgroup says of itself: a curve and a few words.
//!
//! Reads the history, the trend, the state and the largest cgroups of an [`OomInstance`]; emits
//! [`Lines`]. The curve goes from nothing to the limit (to the peak, where there is no limit), one column
//! for each equal part of the time; between two readings the earlier one holds.

use super::{
    escape::name,
    flow::{Line, Lines, Tone},
    owner,
    units::{bytes, count, duration, grouped},
};
use crate::event::{CgroupState, GrowthOf, MemorySample, MemoryTrend, OomInstance, TopCgroup};

/// Columns of a curve.
const COLUMNS: usize = 48;
/// Heights of a column, from nothing to the limit.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Cgroups that are shown where the machine ran out.
const TOP: usize = 5;

/// The curve and the growth, in a block of labelled lines.
pub(super) fn history(lines: &mut Lines, event: &OomInstance) {
    told(lines, event, |lines| lines.label("before"), Lines::more);
}

/// The same in lines of any form: the first, and each further one.
pub(crate) fn told(
    lines: &mut Lines,
    event: &OomInstance,
    first_line: fn(&mut Lines) -> &mut Line,
    next_line: fn(&mut Lines) -> &mut Line,
) {
    let samples = &event.memory_history;
    let (Some(first), Some(trend)) = (samples.first(), &event.memory_trend) else {
        return;
    };
    let span = first.t_ns.unsigned_abs();
    let line = first_line(lines);
    if samples.len() > 1 {
        line.solid(Tone::Strong, &curve(samples));
    }
    line.solid(Tone::Plain, &bytes(first.usage_bytes));
    line.solid(Tone::Plain, &format!("{} before the kill", duration(span)));
    line.glue(",");
    line.solid(Tone::Plain, &format!("{} at most", bytes(trend.peak_bytes)));
    let line = next_line(lines);
    line.say(&growth(trend));
    if let Some(since) = past_80_percent(trend) {
        line.glue(";");
        line.solid(Tone::Plain, &since);
    }
    let limit = event.limit.as_ref().map(|limit| &limit.cgroup.path);
    if let Some(path) = &trend.cgroup.path
        && limit != Some(&trend.cgroup.path)
    {
        next_line(lines).say("recorded of").name(Tone::Plain, path);
    }
}

/// How fast it grew, in words.
fn growth(trend: &MemoryTrend) -> String {
    let over = trend.growth_over_ns.map(duration);
    let rate = trend.growth_bytes_per_s;
    if let (Some(GrowthOf::Anon), Some(rate @ 1..), Some(over)) = (trend.growth_of, rate, &over) {
        let rate = bytes(rate.unsigned_abs());
        return format!(
            "its anonymous and shared memory grew by {rate}/s over the last {over}, while the whole stood still"
        );
    }
    match (rate, over) {
        (Some(rate @ 1..), Some(over)) => {
            format!(
                "grew by {}/s over the last {over}",
                bytes(rate.unsigned_abs())
            )
        }
        (Some(rate @ ..0), Some(over)) => {
            format!(
                "fell by {}/s over the last {over}",
                bytes(rate.unsigned_abs())
            )
        }
        (Some(0), Some(over)) => format!("did not grow over the last {over}"),
        _ => "too few readings to tell how fast it grew".to_owned(),
    }
}

/// How long it had been above 80 % of its limit, in words.
fn past_80_percent(trend: &MemoryTrend) -> Option<String> {
    let ns = trend.since_80_percent_ns?;
    Some(match (ns, trend.since_80_percent_at_least) {
        (ns, true) => format!("above 80 % of the limit for more than {}", duration(ns)),
        (0, false) => "not above 80 % of the limit when it was read last".to_owned(),
        (ns, false) => format!("above 80 % of the limit for {}", duration(ns)),
    })
}

/// `▁▁▂▄▆█`.
pub(crate) fn curve(samples: &[MemorySample]) -> String {
    let top = |sample: &MemorySample| sample.usage_bytes.max(sample.limit_bytes.unwrap_or(0));
    let whole = samples.iter().map(top).max().unwrap_or(0).max(1);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return String::new();
    };
    let span = i128::from(last.t_ns) - i128::from(first.t_ns);
    let columns = COLUMNS.min(samples.len());
    let mut rest = samples.iter().peekable();
    let mut held = first.usage_bytes;
    let mut text = String::with_capacity(3 * columns);
    for column in 1..=columns {
        let end = i128::from(first.t_ns) + span * column as i128 / columns as i128;
        let mut high = None;
        while let Some(sample) = rest.next_if(|sample| i128::from(sample.t_ns) <= end) {
            high = high.max(Some(sample.usage_bytes));
            held = sample.usage_bytes;
        }
        let share = u128::from(high.unwrap_or(held)) * HEIGHTS.len() as u128 / u128::from(whole);
        let height = usize::try_from(share).unwrap_or(0).min(HEIGHTS.len() - 1);
        text.push(HEIGHTS[height]);
    }
    text
}

/// Pressure and counters of the limit's cgroup.
pub(super) fn state(lines: &mut Lines, state: &CgroupState) {
    if let Some(pressure) = &state.pressure {
        let text = format!(
            "tasks waited for memory {:.0} % of the last 10 s, all at once {:.0} %",
            pressure.some.avg10_percent, pressure.full.avg10_percent
        );
        lines.label("pressure").say(&text);
    }
    let Some(events) = &state.events else {
        return;
    };
    let line = lines.label("so far");
    let mut first = true;
    for (number, one, many) in [
        (
            events.oom_kill,
            "process killed here",
            "processes killed here",
        ),
        (events.max, "time at the limit", "times at the limit"),
        (
            events.high,
            "time throttled at memory.high",
            "times throttled at memory.high",
        ),
    ] {
        let Some(number) = number.filter(|&number| number > 0 || first) else {
            continue;
        };
        if !first {
            line.glue(",");
        }
        line.solid(Tone::Plain, &count(number, one, many));
        first = false;
    }
    if let Some(peak) = state.peak_bytes {
        if !first {
            line.glue(",");
        }
        line.solid(Tone::Plain, &format!("{} at most", bytes(peak)));
    }
    if let Some(is_set) = state.oom_group {
        let said = if is_set { "is set" } else { "is not set" };
        line.glue(";").say("memory.oom.group").say(said);
        if let Some(path) = &state.cgroup.path {
            line.say("for").name(Tone::Plain, path);
        }
    }
}

/// Who held the most.
pub(super) fn top(lines: &mut Lines, cgroups: &[TopCgroup]) {
    for (at, top) in cgroups.iter().take(TOP).enumerate() {
        let line = if at == 0 {
            lines.label("largest")
        } else {
            lines.more()
        };
        line.solid(Tone::Strong, &bytes(top.usage_bytes));
        match &top.owner {
            Some(of) if owner::is_shown(of) => owner::brief(line, of),
            _ => {
                let path = top.cgroup.path.as_deref().map(name);
                line.solid(
                    Tone::Plain,
                    path.as_deref().unwrap_or("a cgroup of unknown path"),
                );
            }
        }
    }
    if cgroups.len() > TOP {
        let more = (cgroups.len() - TOP) as u64;
        lines.more().say(&format!("and {} more", grouped(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Cgroup;

    fn samples(values: &[(i64, u64)]) -> Vec<MemorySample> {
        let sample = |&(t_s, usage): &(i64, u64)| MemorySample {
            limit_bytes: Some(800),
            ..MemorySample::of(t_s * 1_000_000_000, usage)
        };
        values.iter().map(sample).collect()
    }

    #[test]
    fn a_curve_goes_from_nothing_to_the_limit_in_equal_times() {
        for (values, expected) in [
            (&[(-3, 0), (-2, 300), (-1, 500), (0, 800)][..], "▁▄▆█"),
            // A reading holds until the next.
            (&[(-100, 100), (-50, 100), (-1, 790), (0, 800)], "▂▂▂█"),
            (&[(-1, 400)], "▅"),
            (&[], ""),
            (&[(0, u64::MAX), (0, 0)], "█▁"),
        ] {
            assert_eq!(curve(&samples(values)), expected, "{values:?}");
        }
        let many: Vec<(i64, u64)> = (0..120_i64)
            .map(|at| (at - 120, 5 * at.unsigned_abs()))
            .collect();
        assert_eq!(curve(&samples(&many)).chars().count(), COLUMNS);
    }

    #[test]
    fn growth_is_said_in_words() {
        let trend = |rate| MemoryTrend {
            cgroup: Cgroup {
                path: None,
                id: None,
                version: None,
            },
            peak_bytes: 0,
            growth_bytes_per_s: rate,
            growth_of: rate.map(|_| GrowthOf::Usage),
            growth_over_ns: rate.map(|_| 12_000_000_000),
            since_80_percent_ns: None,
            since_80_percent_at_least: false,
        };
        for (rate, expected) in [
            (Some(3 << 20), "grew by 3.0 MiB/s over the last 12.0 s"),
            (Some(-1024), "fell by 1.0 KiB/s over the last 12.0 s"),
            (Some(0), "did not grow over the last 12.0 s"),
            (None, "too few readings to tell how fast it grew"),
        ] {
            assert_eq!(growth(&trend(rate)), expected);
        }
        let displaced = MemoryTrend {
            growth_of: Some(GrowthOf::Anon),
            ..trend(Some(15 << 20))
        };
        assert_eq!(
            growth(&displaced),
            "its anonymous and shared memory grew by 15.0 MiB/s over the last 12.0 s, while the whole stood still"
        );
        for (ns, at_least, expected) in [
            (None, false, None),
            (
                Some(0),
                false,
                Some("not above 80 % of the limit when it was read last"),
            ),
            (
                Some(12_000_000_000),
                false,
                Some("above 80 % of the limit for 12.0 s"),
            ),
            (
                Some(118_000_000_000),
                true,
                Some("above 80 % of the limit for more than 1 min 58 s"),
            ),
        ] {
            let told = past_80_percent(&MemoryTrend {
                since_80_percent_ns: ns,
                since_80_percent_at_least: at_least,
                ..trend(None)
            });
            assert_eq!(told.as_deref(), expected);
        }
    }
}
