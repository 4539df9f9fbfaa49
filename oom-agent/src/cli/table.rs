//! A table for people: columns as wide as what is in them, and no wider than the terminal.
//!
//! Reads cells, of which nothing may be a command to the terminal ([`Cell::new`] sees to that); emits
//! lines. What does not fit is cut in its middle, with a mark; some columns never are. Rows may come
//! later: a column that once was wide stays so.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::render::{
    escape::escape,
    flow::{Tone, paint},
    text::TextStyle,
};

/// Between columns.
const GAP: usize = 2;

/// Stands for what was cut.
const CUT: char = '…';

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// It may be cut to this width.
    pub(super) least: Option<usize>,
    /// Numbers end in one line.
    pub(super) right: bool,
}

impl Column {
    /// Never cut.
    pub(super) const fn whole(title: &'static str) -> Self {
        Self {
            title,
            least: None,
            right: false,
        }
    }

    /// Of numbers.
    pub(super) const fn number(title: &'static str) -> Self {
        Self {
            title,
            least: None,
            right: true,
        }
    }

    /// Cut to this width if need be.
    pub(super) const fn to(title: &'static str, least: usize) -> Self {
        Self {
            title,
            least: Some(least),
            right: false,
        }
    }
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self {
            text: escape(text).into_owned(),
            tone,
        }
    }

    pub(super) fn plain(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }

    /// What is not known, or has no meaning here.
    pub(super) fn none() -> Self {
        Self::new(Tone::Faint, "-")
    }
}

/// A table that is being printed.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// As wide as the widest so far.
    widths: Vec<usize>,
    style: TextStyle,
    /// Columns of the terminal; nothing is cut without it.
    terminal: Option<usize>,
    begun: bool,
}

impl Table {
    pub(super) fn new(
        columns: impl IntoIterator<Item = Column>,
        style: TextStyle,
        terminal: Option<usize>,
    ) -> Self {
        let columns: Vec<_> = columns.into_iter().collect();
        Self {
            widths: columns.iter().map(|column| column.title.width()).collect(),
            columns,
            style,
            terminal,
            begun: false,
        }
    }

    /// Further rows; before the first of them, the titles.
    pub(super) fn rows(&mut self, rows: &[Vec<Cell>]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let widths = self.fitting();
        let mut out = String::new();
        if !self.begun && !rows.is_empty() {
            self.begun = true;
            let titles = self.columns.iter();
            let titles = titles.map(|column| Cell::new(Tone::Strong, column.title));
            self.line(&titles.collect::<Vec<_>>(), &widths, &mut out);
        }
        for row in rows {
            self.line(row, &widths, &mut out);
        }
        out
    }

    /// The widths, the widest that may be cut made narrower until all of them fit.
    fn fitting(&self) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let Some(terminal) = self.terminal else {
            return widths;
        };
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(terminal);
        while over > 0 {
            let cuttable = widths.iter_mut().zip(&self.columns);
            let cuttable = cuttable
                .filter(|(width, column)| column.least.is_some_and(|least| **width > least));
            let Some((widest, _)) = cuttable.max_by_key(|(width, _)| **width) else {
                break;
            };
            *widest -= 1;
            over -= 1;
        }
        widths
    }

    fn line(&self, cells: &[Cell], widths: &[usize], out: &mut String) {
        let from = out.len();
        for (at, ((cell, &width), column)) in
            cells.iter().zip(widths).zip(&self.columns).enumerate()
        {
            if at > 0 {
                spaces(out, GAP);
            }
            let text = cut(&cell.text, width);
            let room = width - text.width().min(width);
            if column.right {
                spaces(out, room);
            }
            paint(out, self.style, cell.tone, &text);
            if !column.right && at + 1 < cells.len() {
                spaces(out, room);
            }
        }
        let end = out[from..].trim_end().len();
        out.truncate(from + end);
        out.push('\n');
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// The beginning and the end, the end the longer: names are in it.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let head = width.saturating_sub(1) / 3;
    let tail = width.saturating_sub(1) - head;
    let mut short = String::new();
    let mut room = head;
    for c in text.chars() {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else {
            break;
        };
        room = left;
        short.push(c);
    }
    short.push(CUT);
    let (mut from, mut room) = (text.len(), tail);
    for (at, c) in text.char_indices().rev() {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else {
            break;
        };
        (from, room) = (at, left);
    }
    short.push_str(&text[from..]);
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::whole("ID"),
        Column::to("NAME", 6),
        Column::number("SIZE"),
    ];

    fn table(terminal: Option<usize>) -> Table {
        let style = TextStyle {
            colour: false,
            width: 0,
        };
        Table::new(COLUMNS, style, terminal)
    }

    fn row(cells: [&str; 3]) -> Vec<Cell> {
        cells.map(Cell::plain).into()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = table(None);
        let first = table.rows(&[row(["1", "a/b", "7 B"]), row(["200", "日本", "12 B"])]);
        assert_eq!(first, "ID   NAME  SIZE\n1    a/b    7 B\n200  日本  12 B\n");
        assert_eq!(
            table.rows(&[row(["3", "longer-name", ""])]),
            "3    longer-name\n"
        );
        assert_eq!(
            table.rows(&[row(["4", "x", "1 B"])]),
            "4    x             1 B\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_and_some_is_not() {
        let long = [row(["12345678", "namespace/pod/container", "7 B"])];
        assert_eq!(
            table(Some(30)).rows(&long),
            "ID        NAME            SIZE\n12345678  name…container   7 B\n"
        );
        // Not narrower than it can be read.
        assert!(
            table(Some(5))
                .rows(&long)
                .contains("12345678  n…iner   7 B")
        );
    }

    #[test]
    fn nothing_commands_the_terminal() {
        let out = table(None).rows(&[row(["\x1b[2J", "a\nb", "\u{202e}"])]);
        assert!(out.ends_with("\\x1b[2J  a\\nb  \\u{202e}\n"), "{out}");
    }

    proptest! {
        #[test]
        fn what_is_cut_fits(text in "[a-zé日]{0,30}", width in 1..20_usize) {
            prop_assert!(cut(&text, width).width() <= width);
        }
    }
}
