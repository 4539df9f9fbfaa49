//! Server-sent events: bytes to messages.
//!
//! Reads the event stream of the HTML standard (section 9.2.6, "Interpreting an event stream"), in
//! pieces of any size; emits messages. Refuses a message without an end: what is too long is an error.

use std::mem;

/// A message may be so long: more than any report.
const LONGEST: usize = 64 << 20;

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// What it is; empty if it does not say.
    pub(super) event: String,
    /// What it says.
    pub(super) data: String,
}

/// A message has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the stream is longer than {LONGEST} bytes")]
pub(super) struct TooLong;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// A carriage return has ended the line: a newline behind it belongs to it.
    returned: bool,
    begun: bool,
    message: Message,
    id: Option<String>,
    /// The place of the last message that was whole.
    last_id: Option<String>,
}

impl Parser {
    /// The place that the stream can be gone on from.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes a piece; emits the messages that end in it.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for &byte in piece {
            let after_return = mem::take(&mut self.returned);
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.returned = byte == b'\r';
                    messages.extend(self.end_of_line());
                }
                byte => self.line.push(byte),
            }
        }
        if self.line.len() + self.message.data.len() > LONGEST {
            return Err(TooLong);
        }
        Ok(messages)
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if mem::replace(&mut self.begun, true) {
            &*line
        } else {
            line.trim_start_matches('\u{feff}')
        };
        if line.is_empty() {
            return self.end_of_message();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                self.message.data.push_str(value);
                self.message.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }

    fn end_of_message(&mut self) -> Option<Message> {
        if self.id.is_some() {
            self.last_id = self.id.take();
        }
        let mut message = mem::take(&mut self.message);
        // Without its last newline; a message that says nothing is none.
        message.data.pop()?;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nid: 7\r\nevent: OomKill\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nid: 9\n\n\
        data\rid\r\revent: gap\ndata: x\nretry: 5\nunknown: 1\nid: 11\n\nid: 12\ndata: not yet whole\n";

    fn message(event: &str, data: &str) -> Message {
        Message {
            event: event.into(),
            data: data.into(),
        }
    }

    proptest! {
        #[test]
        fn it_is_the_same_in_pieces_of_any_size(sizes in prop::collection::vec(1..40_usize, 1..80)) {
            let mut parser = Parser::default();
            let mut messages = Vec::new();
            let mut rest = STREAM.as_bytes();
            for size in sizes.into_iter().cycle() {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                messages.extend(parser.take(piece).unwrap());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(messages, [
                message("OomKill", "{\"a\":\n1}"),
                message("", ""),
                message("gap", "x"),
            ]);
            prop_assert_eq!(parser.last_id(), Some("11"));
        }

        #[test]
        fn any_bytes_can_be_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Parser::default().take(&bytes).is_ok());
        }
    }

    #[test]
    fn a_place_comes_without_a_message() {
        let mut parser = Parser::default();
        assert_eq!(parser.take(b"id: 41\n\n"), Ok(Vec::new()));
        assert_eq!(parser.last_id(), Some("41"));
        // A message without a place leaves it.
        assert_eq!(parser.take(b"data: live\n\n").unwrap().len(), 1);
        assert_eq!(parser.last_id(), Some("41"));
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LONGEST / 2 + 1];
        assert!(parser.take(&piece).is_ok());
        assert_eq!(parser.take(&piece), Err(TooLong));
    }
}
