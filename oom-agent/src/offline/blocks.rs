//! Bytes to whole lines, many at once, in constant memory.
//!
//! Reads any reader in large pieces; emits blocks that end with a line, and in the same places whatever
//! the pieces were. A line that goes on with spaces is not torn from the line before it. A line longer
//! than [`MAX_LINE`] is cut there, and counted; refuses to keep the rest of it.

use std::io::{self, ErrorKind, Read};

/// Longest line that is read whole.
pub(super) const MAX_LINE: usize = 64 << 10;

/// Bytes that are asked for at once.
const CHUNK: usize = 1 << 20;

/// A line goes on for at most so many further lines, which begin within so many bytes: Linux 5.x prints
/// the statistics of a cgroup as one message of some 45 lines.
pub(super) const MORE_LINES: usize = 100;
pub(super) const MORE_BYTES: usize = 16 << 10;

/// Reads blocks.
pub(super) struct Blocks<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer is filled, and what of it has been handed out.
    filled: usize,
    taken: usize,
    /// Inside of a line whose beginning has been handed out.
    skipping: bool,
    ended: bool,
    /// Why the input ended early.
    pub(super) failure: Option<io::Error>,
    /// Bytes that were read.
    pub(super) bytes: u64,
    /// Lines that were too long.
    pub(super) cut_lines: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; CHUNK + 2 * MAX_LINE],
            filled: 0,
            taken: 0,
            skipping: false,
            ended: false,
            failure: None,
            bytes: 0,
            cut_lines: 0,
        }
    }

    /// The beginning of the input, before the first block: so many bytes, or all there are.
    pub(super) fn beginning(&mut self, length: usize) -> &[u8] {
        while self.filled < length && !self.ended {
            self.fill();
        }
        &self.buffer[..self.filled.min(length)]
    }

    /// The next block; `None` behind the last. Its last line may have no newline: it was cut, or the
    /// input has none.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let complete = self.complete();
            if complete > self.taken {
                return Some(self.hand_out(complete));
            }
            if self.ended {
                return None;
            }
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
            if self.filled == self.buffer.len() {
                return Some(self.cut());
            }
            self.fill();
        }
    }

    /// One read. Of a line that was cut, the rest is dropped.
    fn fill(&mut self) {
        let to = self.buffer.len().min(self.filled + CHUNK);
        let read = loop {
            match self.input.read(&mut self.buffer[self.filled..to]) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    break 0;
                }
            }
        };
        self.bytes += read as u64;
        self.ended = read == 0;
        let new = self.filled..self.filled + read;
        self.filled = new.end;
        if self.skipping {
            let newline = memchr::memchr(b'\n', &self.buffer[new.clone()]);
            self.taken = newline.map_or(new.end, |at| new.start + at + 1);
            self.skipping = newline.is_none();
        }
    }

    /// Up to where lines are whole, and none of them can go on.
    fn complete(&self) -> usize {
        let have = &self.buffer[self.taken..self.filled];
        if self.ended {
            return self.filled;
        }
        let Some(newline) = memchr::memrchr(b'\n', have) else {
            return self.taken;
        };
        let end = newline + 1;
        let first = first_of(have, end);
        self.taken + first.unwrap_or(end)
    }

    fn hand_out(&mut self, to: usize) -> &[u8] {
        let block = &self.buffer[self.taken..to];
        self.taken = to;
        self.cut_lines += long_lines(block);
        block
    }

    /// The buffer is full, and yet a line in it has no end.
    fn cut(&mut self) -> &[u8] {
        if let Some(newline) = memchr::memrchr(b'\n', &self.buffer) {
            return self.hand_out(newline + 1);
        }
        self.cut_lines += 1;
        self.skipping = true;
        self.taken = self.filled;
        &self.buffer[..MAX_LINE]
    }
}

/// Where the line begins that what follows at `end` (the beginning of a line) may go on: the nearest
/// one before it that does not begin with a space. `None` if there is none near enough.
pub(super) fn first_of(text: &[u8], end: usize) -> Option<usize> {
    let mut next = end;
    for _ in 0..=MORE_LINES {
        let newline = next.checked_sub(1)?;
        let begin = memchr::memrchr(b'\n', &text[..newline]).map_or(0, |at| at + 1);
        if end - begin > MORE_BYTES {
            return None;
        }
        if text[begin] != b' ' {
            return Some(begin);
        }
        next = begin;
    }
    None
}

/// Lines longer than [`MAX_LINE`].
fn long_lines(block: &[u8]) -> u64 {
    let (mut count, mut at) = (0, 0);
    while block.len() - at > MAX_LINE {
        if let Some(newline) = memchr::memrchr(b'\n', &block[at..=at + MAX_LINE]) {
            at += newline + 1;
            continue;
        }
        count += 1;
        let Some(newline) = memchr::memchr(b'\n', &block[at..]) else {
            break;
        };
        at += newline + 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives so many bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(input: &[u8], piece: usize) -> (Vec<Vec<u8>>, u64) {
        let mut blocks = Blocks::new(Pieces(input, piece));
        let mut lines = Vec::new();
        while let Some(block) = blocks.next() {
            lines.extend(block.split_inclusive(|&b| b == b'\n').map(|line| {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                line[..line.len().min(MAX_LINE)].to_vec()
            }));
        }
        (lines, blocks.cut_lines)
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_is_whole() {
        for length in [MAX_LINE, MAX_LINE + 1, 3 << 20] {
            let mut input = b"first\n".to_vec();
            input.extend(vec![b'x'; length]);
            input.extend(b"\nlast");
            let cut = vec![b'x'; MAX_LINE];
            for piece in [100_000, usize::MAX] {
                let (lines, count) = lines(&input, piece);
                assert_eq!(lines, [b"first".to_vec(), cut.clone(), b"last".to_vec()]);
                assert_eq!(count, u64::from(length > MAX_LINE), "{length}");
            }
        }
    }

    #[test]
    fn a_line_that_may_go_on_waits_for_the_next() {
        let mut blocks = Blocks::new(Pieces(b"a\nb\n c\n d\ne\n", 1));
        let mut handed = Vec::new();
        while let Some(block) = blocks.next() {
            handed.push(block.to_vec());
        }
        assert_eq!(handed, [&b"a\n"[..], b"b\n c\n d\n", b"e\n"]);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_lines(input in "[ a\n]{0,200}", piece in 1_usize..50) {
            let mut whole = input.as_bytes().split(|&b| b == b'\n').collect::<Vec<_>>();
            if whole.last() == Some(&&b""[..]) {
                whole.pop();
            }
            let (lines, _) = lines(input.as_bytes(), piece);
            prop_assert_eq!(lines, whole);
        }
    }
}
