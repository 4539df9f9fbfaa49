//! Calendar dates to the Unix clock: the year and the zone that a stamp leaves out.
//!
//! Reads a [`Civil`] date and what is known of its zone; emits a [`Wall`] that says whether anything was
//! assumed. Refuses dates that no calendar has.

use jiff::{Timestamp, civil, tz::TimeZone};

use super::Wall;
use crate::offline::Options;

/// A date and time as a stamp has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: Option<u32>,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
}

impl Civil {
    /// `rest` is month, day, hour, minute, second. Only the date still has to prove itself.
    pub(super) fn new(year: Option<u32>, rest: [u32; 5], nanosecond: u32) -> Option<Self> {
        let [month, day, hour, minute, second] = rest;
        let in_range = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60
            && year.is_none_or(|year| (1970..=2200).contains(&year));
        in_range.then_some(Self {
            year,
            month,
            day,
            hour,
            minute,
            // A leap second.
            second: second.min(59),
            nanosecond,
        })
    }
}

/// What a stamp says of its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Seconds east of Greenwich.
    Offset(i32),
    /// Nothing, or a name that means many things.
    Unknown,
}

/// Resolves stamps of one input, in its order.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    now_s: i64,
    /// With `--year`: that of the last stamp, and when that was.
    year: Option<i16>,
    last_s: i64,
    /// The minute that was resolved last, by its date, and when it began.
    minute: Option<(Civil, Zone, i64)>,
}

impl Calendar {
    /// With the year, the zone and the present of the options.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            zone: options.zone.clone(),
            now_s: i64::try_from(options.now.as_unix_ns() / 1_000_000_000).unwrap_or(i64::MAX),
            year: options.year,
            last_s: i64::MIN,
            minute: None,
        }
    }

    pub(super) fn wall(&mut self, civil: Civil, zone: Zone) -> Option<Wall> {
        let minute = Civil {
            second: 0,
            nanosecond: 0,
            ..civil
        };
        let begin_s = match self.minute {
            Some((known, of_zone, begin)) if known == minute && of_zone == zone => begin,
            _ => {
                let begin = match civil.year {
                    Some(year) => self.resolve(minute, i16::try_from(year).ok()?, zone),
                    None => self.without_year(minute, zone),
                }?;
                self.minute = Some((minute, zone, begin));
                begin
            }
        };
        let seconds = begin_s.checked_add(civil.second.into())?;
        Some(Wall {
            unix_ns: seconds
                .checked_mul(1_000_000_000)?
                .checked_add(civil.nanosecond.into())?,
            assumed: civil.year.is_none() || zone == Zone::Unknown,
        })
    }

    /// The year that was given, and the next one whenever the stamps go back; else the latest that is
    /// not in the future. 29 February is not in every year.
    fn without_year(&mut self, minute: Civil, zone: Zone) -> Option<i64> {
        /// The clock of whoever wrote the log may be ahead, and its zone is assumed.
        const AHEAD_S: i64 = 86_400;
        /// Lines may be out of order by this much.
        const DISORDER_S: i64 = 7 * 86_400;
        if let Some(year) = self.year {
            let mut at = (year..year + 9).find_map(|year| self.resolve(minute, year, zone))?;
            if at < self.last_s.saturating_sub(DISORDER_S) {
                let next = year.checked_add(1)?;
                let later = (next..next + 9).find_map(|year| self.resolve(minute, year, zone))?;
                // Older logs may follow newer ones; none is of the future.
                if later <= self.now_s + AHEAD_S {
                    self.year = Some(next);
                    at = later;
                }
            }
            self.last_s = at;
            return Some(at);
        }
        let this = Timestamp::from_second(self.now_s).ok()?;
        let this = this.to_zoned(self.zone.clone()).year().saturating_add(1);
        (this - 9..=this)
            .rev()
            .filter_map(|year| self.resolve(minute, year, zone))
            .find(|&at| at <= self.now_s + AHEAD_S)
    }

    fn resolve(&self, minute: Civil, year: i16, zone: Zone) -> Option<i64> {
        let [month, day, hour, of_hour] =
            [minute.month, minute.day, minute.hour, minute.minute].map(i8::try_from);
        let date = civil::Date::new(year, month.ok()?, day.ok()?).ok()?;
        let time = date.to_datetime(civil::Time::new(hour.ok()?, of_hour.ok()?, 0, 0).ok()?);
        let (zone, offset_s) = match zone {
            Zone::Offset(seconds) => (&TimeZone::UTC, i64::from(seconds)),
            Zone::Unknown => (&self.zone, 0),
        };
        let at = zone.to_ambiguous_timestamp(time).compatible().ok()?;
        Some(at.as_second() - offset_s)
    }
}
