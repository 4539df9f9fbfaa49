//! The report for people: the verdict, then one aligned line for each check, and below it what is
//! lost and how to get it.

use super::{Check, Report, State};
use crate::render::{
    flow::{Lines, Tone},
    text::TextStyle,
};

/// Columns: two blanks, the state, the name, then what was found.
const STATE_WIDTH: usize = 8;
const NAME_WIDTH: usize = 18;
const FOUND: usize = 2 + STATE_WIDTH + 1 + NAME_WIDTH + 1;

/// Appends the report as text.
pub fn text(report: &Report, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let tone = if report.usable {
        Tone::Strong
    } else {
        Tone::Alarm
    };
    lines.at(0, 2).say_in(tone, &report.verdict).glue(".");
    for reason in &report.not_better_because {
        let why = if report.usable {
            "not better because:"
        } else {
            "because:"
        };
        lines.at(2, 4).say(why).say(reason);
    }
    lines.at(0, 0).solid(Tone::Plain, "");
    for check in &report.checks {
        self::check(&mut lines, check);
    }
    lines.render(style, out);
}

fn check(lines: &mut Lines, check: &Check) {
    let (word, tone) = match check.state {
        State::Ok => ("ok", Tone::Faint),
        State::Degraded => ("degraded", Tone::Caution),
        State::Missing => ("missing", Tone::Caution),
        State::Unknown => ("unknown", Tone::Caution),
    };
    lines
        .at(2, FOUND)
        .solid(tone, &format!("{word:<STATE_WIDTH$}"))
        .solid(Tone::Strong, &format!("{:<NAME_WIDTH$}", check.name))
        .say(&check.found);
    for (label, text) in [("costs:", &check.cost), ("to get it:", &check.fix)] {
        if let Some(text) = text {
            lines
                .at(FOUND, FOUND + 2)
                .solid(Tone::Faint, label)
                .say(text);
        }
    }
}
