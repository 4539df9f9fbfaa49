//! What a guest sent through its second serial port: named pieces of bytes.
//!
//! Reads `NAME LENGTH\n` and so many bytes, again and again; emits them. Refuses a piece that is not
//! whole: the guest died while it sent it.

use anyhow::{Context as _, Result};

/// A piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// All pieces that are whole, in order; an error for the rest.
pub(crate) fn pieces(mut sent: &[u8]) -> Vec<Result<Piece<'_>>> {
    let mut pieces = Vec::new();
    while !sent.is_empty() {
        let piece = piece(&mut sent);
        if piece.is_err() {
            sent = &[];
        }
        pieces.push(piece);
    }
    pieces
}

fn piece<'a>(sent: &mut &'a [u8]) -> Result<Piece<'a>> {
    let end = sent.iter().position(|&byte| byte == b'\n');
    let (head, rest) = sent.split_at(end.context("no end of the head")?);
    let (name, len) = str::from_utf8(head)?.split_once(' ').context("no length")?;
    let whole = rest[1..].split_at_checked(len.parse()?);
    let (bytes, rest) = whole.with_context(|| format!("{name} is cut off"))?;
    *sent = rest;
    Ok(Piece { name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_one_after_the_other_until_one_is_cut_off() {
        let all = pieces(b"a 3\n1\n3b 0\nc 9\nxyz");
        let piece = |name, bytes| Piece { name, bytes };
        assert_eq!(all[0].as_ref().unwrap(), &piece("a", b"1\n3"));
        assert_eq!(all[1].as_ref().unwrap(), &piece("b", b""));
        assert!(all[2].is_err());
        assert_eq!(all.len(), 3);
        assert!(pieces(b"").is_empty());
        assert!(pieces(b"\xff 1\nx")[0].is_err());
    }
}
