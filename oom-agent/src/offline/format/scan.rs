//! A cursor over the bytes of a line.
//!
//! Reads from the left; each step takes what it names, or nothing and says so. Refuses to copy.

/// What is left of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes this very byte.
    pub(super) fn byte(&mut self, byte: u8) -> Option<()> {
        self.one_of(&[byte]).map(|_| ())
    }

    /// Takes one of these bytes.
    pub(super) fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        bytes.contains(&first).then(|| {
            self.rest = rest;
            first
        })
    }

    /// Takes this very text.
    pub(super) fn text(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    pub(super) fn spaces(&mut self) {
        while let Some((b' ', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    /// Takes so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes everything before this byte, and the byte.
    pub(super) fn until(&mut self, byte: u8) -> Option<&'a [u8]> {
        let at = memchr::memchr(byte, self.rest)?;
        let taken = &self.rest[..at];
        self.rest = &self.rest[at + 1..];
        Some(taken)
    }

    /// Takes exactly so many digits.
    pub(super) fn digits(&mut self, count: usize) -> Option<u32> {
        let mut copy = *self;
        let mut number = 0_u32;
        for &digit in copy.take(count)? {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number.wrapping_mul(10).wrapping_add(u32::from(digit));
        }
        *self = copy;
        Some(number)
    }

    /// Takes a decimal number of any length that fits.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut copy = *self;
        let mut number = None;
        while let Some(digit @ b'0'..=b'9') = copy.peek() {
            copy.rest = &copy.rest[1..];
            let so_far = number.unwrap_or(0_u64).checked_mul(10)?;
            number = Some(so_far.checked_add(u64::from(digit - b'0'))?);
        }
        if number.is_some() {
            *self = copy;
        }
        number
    }

    /// Takes the digits of a fraction of a second, as nanoseconds.
    pub(super) fn fraction(&mut self) -> Option<u32> {
        let mut copy = *self;
        let (mut ns, mut unit) = (0, 1_000_000_000_u32);
        while let Some(digit @ b'0'..=b'9') = copy.peek() {
            copy.rest = &copy.rest[1..];
            unit /= 10;
            ns += u32::from(digit - b'0') * unit;
        }
        (copy.rest.len() < self.rest.len()).then(|| {
            *self = copy;
            ns
        })
    }
}
