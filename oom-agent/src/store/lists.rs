//! The lists of the index that a filter needs, of one kind of event, and what stands in all of them.
//!
//! Reads the index; emits places of events in the order of time. The rarest condition leads: its list is
//! read, and each of its events looked up in the others. Refuses to sort, and to leave the choice to the
//! database's planner.

use std::{collections::BTreeSet, fmt::Write as _, iter};

use rusqlite::{OptionalExtension as _, Result, Transaction, params, params_from_iter};

use super::{
    Cursor, Filter, Order, QueryError,
    filter::{Condition, Want},
    index,
    terms::Field,
};
use crate::event::Kind;

/// Terms that the beginning of an id may fit.
const FITTING: u8 = 64;

/// How many events of each condition are looked at to find the rarest: the one that has its last of them
/// farthest away, or not so many at all.
const AHEAD: i64 = 256;

/// Time and number: the order of a list.
pub(super) type Key = (i64, i64);

/// Between these two, both excluded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    after: Key,
    before: Key,
}

impl Range {
    pub(super) fn of(filter: &Filter, order: Order, from: Option<Cursor>) -> Self {
        let mut range = Self {
            after: (filter.since.unwrap_or(i64::MIN), i64::MIN),
            before: (filter.until.unwrap_or(i64::MAX), i64::MAX),
        };
        let from = from.map(|cursor| (cursor.time_ns, cursor.seq));
        match (order, from) {
            (Order::OldestFirst, Some(key)) => range.after = range.after.max(key),
            (Order::NewestFirst, Some(key)) => range.before = range.before.min(key),
            (_, None) => {}
        }
        range
    }
}

impl Range {
    /// The time at which reading begins.
    const fn begin(&self, order: Order) -> i64 {
        match order {
            Order::OldestFirst => self.after.0,
            Order::NewestFirst => self.before.0,
        }
    }

    /// Leaves out what comes before this time; the range has an event of it.
    fn begin_at(&mut self, order: Order, time: i64) {
        match order {
            Order::OldestFirst => self.after = self.after.max((time, i64::MIN)),
            Order::NewestFirst => self.before = self.before.min((time, i64::MAX)),
        }
    }
}

/// How lists are read: those of the rarest condition, and each of their events looked up in the others.
#[derive(Debug)]
struct Plan {
    leading: Vec<i64>,
    checked: Vec<Vec<i64>>,
    range: Range,
}

impl Plan {
    /// The parameters of a statement, for one of the leading terms.
    fn values(&self, term: i64, limit: i64) -> impl Iterator<Item = i64> {
        let Range { after, before } = self.range;
        let fixed = [term, after.0, after.1, before.0, before.1, limit];
        let checked = self.checked.iter().flatten().copied();
        fixed.into_iter().chain(checked)
    }
}

/// For each condition the terms that fulfil it. At least one condition: that it is an event.
#[derive(Clone, Debug)]
pub(super) struct Lists(Vec<Vec<i64>>);

impl Lists {
    /// Those of one kind.
    pub(super) fn of(
        tx: &Transaction<'_>,
        kind: Kind,
        conditions: &[Condition<'_>],
    ) -> Result<Self, QueryError> {
        let kind = index::number(kind);
        let every = Condition(vec![Want::Exactly(Field::All, "".into())]);
        let every = iter::once(&every).filter(|_| conditions.is_empty());
        let mut lists = Vec::new();
        for condition in conditions.iter().chain(every) {
            let mut terms = Vec::new();
            for want in &condition.0 {
                find(tx, kind, want, &mut terms)?;
            }
            lists.push(terms);
        }
        Ok(Self(lists))
    }

    /// Whether an event with these terms fulfils every condition.
    pub(super) fn mean(&self, terms: &[i64]) -> bool {
        let mut conditions = self.0.iter();
        conditions.all(|of| of.iter().any(|term| terms.contains(term)))
    }

    /// Adds the first `limit` places at least; one may be there several times.
    pub(super) fn read(
        self,
        tx: &Transaction<'_>,
        range: Range,
        order: Order,
        limit: usize,
        into: &mut Vec<Key>,
    ) -> Result<()> {
        let Some(plan) = self.plan(tx, range, order)? else {
            return Ok(());
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut page = tx.prepare_cached(&page(order, &plan.checked, FIRST))?;
        for term in &plan.leading {
            let values = params_from_iter(plan.values(*term, limit));
            let keys = page.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
            for key in keys {
                into.push(key?);
            }
        }
        Ok(())
    }

    /// Tells time, number and terms (a JSON array) of every event that stands in all of them, each once.
    pub(super) fn each(
        self,
        tx: &Transaction<'_>,
        range: Range,
        mut tell: impl FnMut(i64, i64, &str) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let Some(plan) = self.plan(tx, range, Order::OldestFirst)? else {
            return Ok(());
        };
        let is_one = plan.leading.len() == 1;
        let mut told = BTreeSet::new();
        let mut all = tx.prepare_cached(&with_terms(&plan.checked))?;
        for term in &plan.leading {
            let mut rows = all.query(params_from_iter(plan.values(*term, i64::MAX)))?;
            while let Some(row) = rows.next()? {
                let (time, seq) = (row.get(0)?, row.get(1)?);
                if is_one || told.insert(seq) {
                    let terms = row.get_ref(2)?.as_str();
                    tell(time, seq, terms.map_err(rusqlite::Error::from)?)?;
                }
            }
        }
        Ok(())
    }

    /// Which condition leads, and where reading begins; `None` if nothing can stand in all lists.
    fn plan(
        mut self,
        tx: &Transaction<'_>,
        mut range: Range,
        order: Order,
    ) -> Result<Option<Plan>> {
        if self.0.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        if self.0.len() > 1 {
            // Nothing can stand in all lists before each has begun.
            for at in 0..self.0.len() {
                match self.nearest(at, tx, range, order, 0)? {
                    Some(time) => range.begin_at(order, time),
                    None => return Ok(None),
                }
            }
        }
        let leading = self.0.swap_remove(self.rarest(tx, range, order)?);
        Ok(Some(Plan {
            leading,
            checked: self.0,
            range,
        }))
    }

    /// The condition whose events are the fewest where the reading begins.
    fn rarest(&self, tx: &Transaction<'_>, range: Range, order: Order) -> Result<usize> {
        if self.0.len() < 2 {
            return Ok(0);
        }
        let mut farthest = (0, 0);
        for at in 0..self.0.len() {
            let Some(time) = self.nearest(at, tx, range, order, AHEAD)? else {
                return Ok(at);
            };
            let distance = time.abs_diff(range.begin(order));
            if distance > farthest.1 {
                farthest = (at, distance);
            }
        }
        Ok(farthest.0)
    }

    /// The time of the event of a condition that has so many before it; where there are several terms, of
    /// the one that comes to it first.
    fn nearest(
        &self,
        condition: usize,
        tx: &Transaction<'_>,
        range: Range,
        order: Order,
        before_it: i64,
    ) -> Result<Option<i64>> {
        let mut far = tx.prepare_cached(&page(order, &[], FAR))?;
        let mut nearest: Option<i64> = None;
        for term in &self.0[condition] {
            let Range { after, before } = range;
            let values = params![term, after.0, after.1, before.0, before.1, before_it];
            let time = far.query_row(values, |row| row.get(0)).optional()?;
            nearest = match (nearest, time, order) {
                (Some(a), Some(b), Order::OldestFirst) => Some(i64::min(a, b)),
                (Some(a), Some(b), Order::NewestFirst) => Some(i64::max(a, b)),
                (one, other, _) => one.or(other),
            };
        }
        Ok(nearest)
    }
}

/// As many as are wanted.
const FIRST: &str = " LIMIT ?6";

/// The one that has so many before it.
const FAR: &str = " LIMIT 1 OFFSET ?6";

const EXACTLY: &str = "SELECT id FROM term WHERE kind = ?1 AND field = ?2 AND word = ?3";

const BEGINNING: &str = "SELECT id FROM term
  WHERE kind = ?1 AND field = ?2 AND word >= ?3 AND word < ?4 LIMIT ?5";

/// Parameters: the leading term, the range, that of `limit`, and all terms of the other conditions.
fn page(order: Order, others: &[Vec<i64>], limit: &str) -> String {
    let sql = "SELECT p.time_ns, p.seq FROM posting p".to_owned() + &in_all(others);
    let order = match order {
        Order::OldestFirst => "\n  ORDER BY p.time_ns, p.seq",
        Order::NewestFirst => "\n  ORDER BY p.time_ns DESC, p.seq DESC",
    };
    sql + order + limit
}

/// The same parameters; with the terms of each event. A cross join is done in the order in which it is written.
fn with_terms(others: &[Vec<i64>]) -> String {
    let sql = "SELECT p.time_ns, p.seq, i.terms FROM posting p CROSS JOIN indexed i";
    sql.to_owned() + &in_all(others) + "\n  AND i.seq = p.seq" + FIRST
}

/// Those of a term that have, of each other condition, one of its terms.
fn in_all(others: &[Vec<i64>]) -> String {
    let mut sql = String::from(
        " WHERE p.term = ?1
  AND (p.time_ns, p.seq) > (?2, ?3) AND (p.time_ns, p.seq) < (?4, ?5)",
    );
    let mut parameter = 7..;
    for terms in others {
        sql += "\n  AND EXISTS (SELECT 1 FROM posting q WHERE q.term IN (";
        for (at, number) in parameter.by_ref().take(terms.len()).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}?{number}");
        }
        sql += ") AND q.time_ns = p.time_ns AND q.seq = p.seq)";
    }
    sql
}

/// Adds the terms that are wanted.
fn find(
    tx: &Transaction<'_>,
    kind: u8,
    want: &Want<'_>,
    terms: &mut Vec<i64>,
) -> Result<(), QueryError> {
    match want {
        Want::Exactly(field, word) => {
            let mut find = tx.prepare_cached(EXACTLY)?;
            let values = params![kind, *field as u8, word];
            let found = find.query_row(values, |row| row.get::<_, i64>(0));
            terms.extend(found.optional()?);
        }
        Want::Beginning(field, word) => {
            let mut find = tx.prepare_cached(BEGINNING)?;
            let values = params![kind, *field as u8, word, behind(word), FITTING + 1];
            let found = find.query_map(values, |row| row.get(0))?;
            let before = terms.len();
            for term in found {
                terms.push(term?);
            }
            if terms.len() - before > usize::from(FITTING) {
                return Err(QueryError::Ambiguous((*word).to_owned()));
            }
        }
    }
    Ok(())
}

/// The least text behind all that begin with this one, which ends with a digit or a letter.
fn behind(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    let next = text
        .pop()
        .and_then(|last| char::from_u32(u32::from(last) + 1));
    text.extend(next);
    text
}

/// One of each form, for the planner's word on it.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let others = [
        vec![],
        vec![vec![0]],
        vec![vec![0; 65], vec![0], vec![0, 0]],
    ];
    let orders = [Order::OldestFirst, Order::NewestFirst];
    let pages = orders.map(|order| others.each_ref().map(|others| page(order, others, FIRST)));
    let fixed = [EXACTLY, BEGINNING].map(str::to_owned);
    let far = orders.map(|order| page(order, &[], FAR));
    let all = others.each_ref().map(|others| with_terms(others));
    (pages.into_iter().flatten())
        .chain(fixed)
        .chain(far)
        .chain(all)
        .collect()
}
