//! Words and numbers in a line, without patterns: what the many lines of a report, and of files of the kernel, are read with.
//!
//! Reads bytes; emits words and numbers. Refuses a number that does not fit.

/// A decimal number that fills the whole field and fits.
pub(super) fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    let mut number = 0_u64;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then(|| number.try_into().ok())?
}

/// The same, where it may be negative.
pub(super) fn signed<T: TryFrom<i64>>(text: &[u8]) -> Option<T> {
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    (sign * number::<i64>(digits)?).try_into().ok()
}

/// The number that the text begins with, and what follows it.
pub(super) fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    Some((number(digits)?, rest))
}

/// `512kB` in bytes, and what follows it.
pub(super) fn leading_kilobytes(text: &[u8]) -> Option<(u64, &[u8])> {
    let (kilobytes, rest) = leading_number(text)?;
    let rest = rest.strip_prefix(b"kB").or(rest.strip_prefix(b"KB"))?;
    Some((kilobytes.checked_mul(1024)?, rest))
}

/// Words between white space; some loggers write the end of a line as `#012`.
pub(super) fn words(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let words = text.split(u8::is_ascii_whitespace);
    words
        .map(|word| word.strip_suffix(b"#012").unwrap_or(word))
        .filter(|word| !word.is_empty())
}

/// Name and value of `name:value`.
pub(super) fn pair(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = word.iter().position(|&b| b == b':')?;
    Some((&word[..colon], &word[colon + 1..]))
}

/// What separates the name that a line begins with from the number behind it: `anon 4096`, `free:17`.
pub(super) fn separator(text: &[u8]) -> Option<u8> {
    let is_name = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    let end = text.iter().position(|b| !is_name(b))?;
    let named = text[0].is_ascii_lowercase() && text.get(end + 1)?.is_ascii_digit();
    named.then_some(text[end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "1 ", "18446744073709551616"] {
            assert_eq!(number::<u64>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number::<u8>(b"256"), None);
        assert_eq!(signed(b"-1000"), Some(-1000_i16));
        assert_eq!(signed::<i16>(b"--1"), None);
        assert_eq!(signed::<i16>(b"40000"), None);
        assert_eq!(leading_number(b"12x"), Some((12, &b"x"[..])));
        assert_eq!(leading_number(b"x"), None);
        assert_eq!(leading_number(b"99999999999999999999"), None);
        assert_eq!(leading_kilobytes(b"2kB)"), Some((2048, &b")"[..])));
        assert_eq!(leading_kilobytes(b"2 kB"), None);
        assert_eq!(leading_kilobytes(b"18014398509481984kB"), None);
    }

    #[test]
    fn a_line_of_names_and_numbers_is_told_by_its_beginning() {
        let cases: &[(&[u8], Option<u8>)] = &[
            (b"anon 4096", Some(b' ')),
            (b"active_anon:17 inactive_anon:4", Some(b':')),
            (b"anon  4096", None),
            (b"anon", None),
            (b"anon ", None),
            (b"9 4096", None),
            (b"", None),
            (b" 1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(separator(text), *expected, "{}", text.escape_ascii());
        }
        assert_eq!(
            words(b" a:1#012 b \n").collect::<Vec<_>>(),
            [b"a:1", &b"b"[..]]
        );
        assert_eq!(pair(b"a:b:c"), Some((&b"a"[..], &b"b:c"[..])));
    }
}
