//! The process table of a report (`dump_tasks`, `mm/oom_kill.c`).
//!
//! Reads the table's header for the names of its columns, then rows by those names: the columns
//! changed in 4.0, 4.15 and 6.8, and names are what stays. Emits [`TaskRow`] in bytes. Refuses a row
//! that has fewer columns than its header, or a number that does not fit.

use super::{
    line::signed_uid,
    scan::{number, signed},
};
use crate::{event::TaskRow, text::Comm};

/// More columns than any kernel prints; a header with more is no table.
const MAX_COLUMNS: usize = 16;

/// What one column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Pid,
    Uid,
    Tgid,
    TotalVm,
    Rss,
    /// `nr_ptes`, `nr_pmds`, `nr_puds`: pages, one column a level.
    PgtablePages,
    PgtablesBytes,
    Swapents,
    OomScoreAdj,
    /// A column that [`TaskRow`] has no place for (`rss_anon`, or one of a later kernel).
    Other,
}

/// The columns of one table, in order; the last, `name`, takes the rest of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    kinds: [Column; MAX_COLUMNS],
    len: usize,
}

impl Columns {
    /// Parses `[  pid  ]   uid  tgid total_vm … name`; `None` if the line is no such header.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let rest = message.strip_prefix(b"[")?;
        let close = rest.iter().position(|&b| b == b']')?;
        if rest[..close].trim_ascii() != b"pid" {
            return None;
        }
        let names = rest[close + 1..]
            .split(|&b| b == b' ')
            .filter(|n| !n.is_empty());
        let mut columns = Self {
            kinds: [Column::Pid; MAX_COLUMNS],
            len: 1,
        };
        for name in names {
            if name == b"name" {
                return Some(columns);
            }
            *columns.kinds.get_mut(columns.len)? = match name {
                b"uid" => Column::Uid,
                b"tgid" => Column::Tgid,
                b"total_vm" => Column::TotalVm,
                b"rss" => Column::Rss,
                b"nr_ptes" | b"nr_pmds" | b"nr_puds" => Column::PgtablePages,
                b"pgtables_bytes" => Column::PgtablesBytes,
                b"swapents" => Column::Swapents,
                b"oom_score_adj" => Column::OomScoreAdj,
                _ => Column::Other,
            };
            columns.len += 1;
        }
        None
    }

    /// Parses one row of this table.
    #[must_use]
    pub fn row(&self, row: &[u8], page_size: u64) -> Option<TaskRow> {
        let (mut pid, mut tgid, mut uid) = (None, None, None);
        let (mut total_vm, mut rss, mut oom_score_adj) = (None, None, None);
        let (mut pgtables, mut swap) = (None, None);
        let pages = |digits| Some(number::<u64>(digits)?.saturating_mul(page_size));

        let row = row.strip_prefix(b"[")?;
        let close = row.iter().position(|&b| b == b']')?;
        let mut rest = &row[close + 1..];
        for (i, kind) in self.kinds[..self.len].iter().enumerate() {
            let digits = if i == 0 {
                row[..close].trim_ascii()
            } else {
                next_word(&mut rest)
            };
            match kind {
                Column::Pid => pid = Some(number(digits)?),
                Column::Uid => uid = Some(signed_uid(digits)?),
                Column::Tgid => tgid = Some(number(digits)?),
                Column::TotalVm => total_vm = Some(pages(digits)?),
                Column::Rss => rss = Some(pages(digits)?),
                Column::PgtablePages => {
                    pgtables = Some(pages(digits)?.saturating_add(pgtables.unwrap_or(0)));
                }
                Column::PgtablesBytes => pgtables = Some(number(digits)?),
                Column::Swapents => swap = Some(pages(digits)?),
                Column::OomScoreAdj => oom_score_adj = Some(signed(digits)?),
                Column::Other => {}
            }
        }
        Some(TaskRow {
            pid: pid?,
            tgid: tgid?,
            uid: uid?,
            // One space, then the name, which may itself begin with spaces.
            comm: Comm::new(rest.strip_prefix(b" ")?),
            total_vm_bytes: total_vm?,
            rss_bytes: rss?,
            pgtables_bytes: pgtables,
            swap_bytes: swap,
            oom_score_adj: oom_score_adj?,
        })
    }
}

/// Whether a message has the shape of a row: `[ 123]` and more.
#[must_use]
pub fn looks_like_row(message: &[u8]) -> bool {
    let close = message.iter().position(|&b| b == b']');
    message.first() == Some(&b'[')
        && close.is_some_and(|close| number::<u32>(message[1..close].trim_ascii()).is_some())
}

/// The next word, leaving what follows it in `rest`.
fn next_word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let trimmed = rest.trim_ascii_start();
    let end = trimmed
        .iter()
        .position(|&b| b == b' ')
        .unwrap_or(trimmed.len());
    let (word, tail) = trimmed.split_at(end);
    *rest = tail;
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;

    fn parse(header: &str, row: &[u8]) -> Option<TaskRow> {
        Columns::parse(header.as_bytes()).unwrap().row(row, PAGE)
    }

    const V3_10: &str = "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name";
    const V4_0: &str =
        "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name";
    const V4_19: &str =
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name";
    const V6_8: &str = "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name";

    #[test]
    fn columns_are_found_by_name() {
        let row = TaskRow {
            pid: 9394,
            tgid: 9390,
            uid: 1000,
            comm: Comm::new(b"hog"),
            total_vm_bytes: 6279 * PAGE,
            rss_bytes: 4636 * PAGE,
            pgtables_bytes: Some(94208),
            swap_bytes: Some(7 * PAGE),
            oom_score_adj: -17,
        };
        let cases: &[(&str, &str)] = &[
            (
                V3_10,
                "[ 9394]  1000  9390     6279     4636      23        7           -17 hog",
            ),
            (
                V4_0,
                "[ 9394]  1000  9390     6279     4636      20       3        7           -17 hog",
            ),
            (
                V4_19,
                "[   9394]  1000  9390     6279     4636    94208        7           -17 hog",
            ),
            (
                V6_8,
                "[   9394]  1000  9390     6279     4636     3804      832         0    94208        7           -17 hog",
            ),
        ];
        for (header, line) in cases {
            assert_eq!(
                parse(header, line.as_bytes()).as_ref(),
                Some(&row),
                "{header}"
            );
        }
    }

    #[test]
    fn a_name_is_whatever_follows_one_space() {
        for name in [&b"a b"[..], b" [ 1] 2", b"", b"x\n\"\\\xff)", b"  "] {
            let mut row =
                b"[      1]     0     1        2        3     4096        0             0 "
                    .to_vec();
            row.extend_from_slice(name);
            assert_eq!(parse(V4_19, &row).unwrap().comm, Comm::new(name));
        }
    }

    #[test]
    fn a_uid_past_the_sign_bit_is_printed_negative() {
        let row = b"[      1]    -2     1        2        3     4096        0             0 x";
        assert_eq!(parse(V4_19, row).unwrap().uid, u32::MAX - 1);
    }

    #[test]
    fn refuses_what_is_no_table() {
        for header in [
            "[ pid ] uid tgid",
            "[ 12] 0 0",
            "pid name",
            "[drm] pid name",
            "[",
        ] {
            assert_eq!(Columns::parse(header.as_bytes()), None, "{header}");
        }
        for row in [
            "",
            "[",
            "[ x] 1 1 1 1 1 1 1 n",
            "[ 1] 1 1 1 1 1 1",
            "[ 1] 1 1 1 1 1 1 1",
        ] {
            assert_eq!(parse(V4_19, row.as_bytes()), None, "{row}");
        }
        assert!(looks_like_row(b"[   9394]     0"));
        assert!(!looks_like_row(b"[drm] 1"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(row: Vec<u8>, header: Vec<u8>) {
            let _ = Columns::parse(&header);
            let _ = parse(V6_8, &row);
            let _ = looks_like_row(&row);
        }
    }
}
