//! Lines of words: wrapped to a width, with an optional label before them and optional colour.
//!
//! Reads words; emits lines. Every word passes through [`escape`], so nothing that an event carries
//! can reach the terminal as a command. A word that is longer than a line gets a line of its own and
//! is never cut.

use super::{
    escape::{escape, name},
    text::TextStyle,
};

/// What a word is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Alarm,
    Caution,
    Faint,
}

impl Tone {
    /// Parameters of the terminal's "select graphic rendition".
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Alarm => Some("1;31"),
            Self::Caution => Some("33"),
            Self::Faint => Some("2"),
        }
    }
}

/// Below this a narrower terminal only makes the text longer.
const MIN_WIDTH: usize = 40;

/// Labels stand in a column of their own.
const LABEL_INDENT: usize = 2;
const BODY_INDENT: usize = 12;

struct Word {
    tone: Tone,
    text: String,
}

/// One line before it is wrapped.
pub(crate) struct Line {
    label: &'static str,
    /// Column of the label, of the first word, and of what is wrapped.
    start: usize,
    first: usize,
    rest: usize,
    words: Vec<Word>,
}

impl Line {
    /// Adds prose, which may be wrapped between any two words.
    pub(crate) fn say(&mut self, prose: &str) -> &mut Self {
        self.say_in(Tone::Plain, prose)
    }

    /// The same in a tone.
    pub(crate) fn say_in(&mut self, tone: Tone, prose: &str) -> &mut Self {
        for word in prose.split_ascii_whitespace() {
            self.solid(tone, word);
        }
        self
    }

    /// Adds text that is not to be wrapped.
    pub(crate) fn solid(&mut self, tone: Tone, text: &str) -> &mut Self {
        let text = escape(text).into_owned();
        self.words.push(Word { tone, text });
        self
    }

    /// Adds a name or a path.
    pub(crate) fn name(&mut self, tone: Tone, text: &str) -> &mut Self {
        self.solid(tone, &name(text))
    }

    /// Puts punctuation right behind the last word.
    pub(crate) fn glue(&mut self, text: &str) -> &mut Self {
        if let Some(word) = self.words.last_mut() {
            word.text.push_str(&escape(text));
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.label.is_empty() && self.words.is_empty()
    }

    fn render(&self, style: TextStyle, out: &mut String) {
        let width = style.width.max(MIN_WIDTH);
        indent(out, self.start);
        paint(out, style, Tone::Faint, self.label);
        indent(
            out,
            self.first.saturating_sub(self.start + self.label.len()),
        );
        let mut column = self.first;
        for (at, word) in self.words.iter().enumerate() {
            let length = word.text.chars().count();
            if at > 0 && column + 1 + length > width {
                out.push('\n');
                indent(out, self.rest);
                column = self.rest;
            } else if at > 0 {
                out.push(' ');
                column += 1;
            }
            paint(out, style, word.tone, &word.text);
            column += length;
        }
        out.push('\n');
    }
}

fn indent(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}

pub(crate) fn paint(out: &mut String, style: TextStyle, tone: Tone, text: &str) {
    match tone.sgr().filter(|_| style.colour && !text.is_empty()) {
        Some(sgr) => out.extend(["\x1b[", sgr, "m", text, "\x1b[0m"]),
        None => out.push_str(text),
    }
}

/// Lines in order.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// A line at the margin; what does not fit goes on, indented.
    pub(crate) fn head(&mut self) -> &mut Line {
        self.at(0, 4)
    }

    /// A line that goes on below the head, at its indent.
    pub(crate) fn below(&mut self) -> &mut Line {
        self.at(4, 4)
    }

    /// A labelled line of a block.
    pub(crate) fn label(&mut self, label: &'static str) -> &mut Line {
        self.push(label, LABEL_INDENT, BODY_INDENT, BODY_INDENT)
    }

    /// A line from one column, going on at another.
    pub(crate) fn at(&mut self, first: usize, rest: usize) -> &mut Line {
        self.push("", 0, first, rest)
    }

    /// A further line under the last label.
    pub(crate) fn more(&mut self) -> &mut Line {
        self.label("")
    }

    fn push(&mut self, label: &'static str, start: usize, first: usize, rest: usize) -> &mut Line {
        self.0.push(Line {
            label,
            start,
            first,
            rest,
            words: Vec::new(),
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Whether nothing would be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Line::is_empty)
    }

    /// Appends everything to `out`.
    pub(crate) fn render(&self, style: TextStyle, out: &mut String) {
        for line in self.0.iter().filter(|line| !line.is_empty()) {
            line.render(style, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(lines: &Lines, colour: bool) -> String {
        let mut out = String::new();
        lines.render(TextStyle { colour, width: 40 }, &mut out);
        out
    }

    #[test]
    fn prose_wraps_and_a_long_name_gets_its_own_line() {
        let path = format!("/{}", "x".repeat(60));
        let mut lines = Lines::default();
        lines
            .label("cgroup")
            .say("one two three")
            .name(Tone::Strong, &path)
            .glue(",")
            .say("four");
        let expected = format!("  cgroup    one two three\n{0:12}{path},\n{0:12}four\n", "");
        assert_eq!(render(&lines, false), expected);
    }

    #[test]
    fn colour_is_closed_again_and_only_on_request() {
        let mut lines = Lines::default();
        lines
            .head()
            .say_in(Tone::Alarm, "a")
            .solid(Tone::Plain, "b\x1b c");
        assert_eq!(render(&lines, false), "a b\\x1b c\n");
        assert_eq!(render(&lines, true), "\x1b[1;31ma\x1b[0m b\\x1b c\n");
    }
}
