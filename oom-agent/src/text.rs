//! Text that a process or an administrator chose: process names and cgroup paths.
//!
//! Reads raw bytes from the kernel; emits printable UTF-8 for people and JSON. Bytes that are not
//! UTF-8 are written as `\xNN`, the way `/dev/kmsg` writes them. Refuses nothing: a hostile name is
//! still a name.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// `TASK_COMM_LEN`: a process name holds at most 15 bytes and a NUL (include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// A process name (`task_struct.comm`): at most 15 bytes, chosen by the process itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm {
    bytes: [u8; COMM_LEN],
    len: u8,
}

impl Comm {
    /// Takes the bytes up to the first NUL, 15 at most: what the kernel itself would keep.
    #[must_use]
    pub fn new(raw: &[u8]) -> Self {
        let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
        let end = end.min(COMM_LEN - 1);
        let mut bytes = [0; COMM_LEN];
        bytes[..end].copy_from_slice(&raw[..end]);
        #[expect(clippy::cast_possible_truncation, reason = "end is at most 15")]
        let len = end as u8;
        Self { bytes, len }
    }

    /// The name without its padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether the kernel gave no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.as_bytes()))
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", printable(self.as_bytes()))
    }
}

impl Serialize for Comm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&printable(self.as_bytes()))
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

/// From text what it shows, which for bytes that are not UTF-8 is their `\xNN`; from binary the name.
impl<'de> Deserialize<'de> for Comm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Comm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a process name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Comm, E> {
                Ok(Comm::new(name.as_bytes()))
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Comm, E> {
                Ok(Comm::new(name))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Name)
        } else {
            deserializer.deserialize_bytes(Name)
        }
    }
}

impl JsonSchema for Comm {
    fn schema_name() -> Cow<'static, str> {
        "Comm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Process name, at most 15 bytes; bytes that are not UTF-8 as \\xNN." })
    }
}

/// Bytes as UTF-8, with every byte that is not valid UTF-8 as `\xNN`.
#[must_use]
pub fn printable(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(raw.len() + 8);
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_is_cut_where_the_kernel_cuts_it() {
        assert_eq!(Comm::new(b"hog\0rest").to_string(), "hog");
        assert_eq!(
            Comm::new(b"0123456789abcdefgh").to_string(),
            "0123456789abcde"
        );
        assert!(Comm::new(b"").is_empty());
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_visible() {
        assert_eq!(printable(b"a\xffb"), "a\\xffb");
        assert_eq!(printable("grün,pid=1".as_bytes()), "grün,pid=1");
    }
}
