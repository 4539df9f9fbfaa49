//! Numbers in the bytes of a record, in the order of this machine.
//!
//! Reads the fields that the kernel side has written; emits numbers. What is not there is 0: whoever reads has looked at
//! the length. Refuses records of another wire version.

use bytes::Buf as _;

use super::decode::DecodeError;

/// A record.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    /// All from there on.
    pub(super) fn at(self, offset: usize) -> &'a [u8] {
        self.0.get(offset..).unwrap_or_default()
    }

    pub(super) fn u16(self, offset: usize) -> u16 {
        self.at(offset).try_get_u16_ne().unwrap_or_default()
    }

    pub(super) fn u32(self, offset: usize) -> u32 {
        self.at(offset).try_get_u32_ne().unwrap_or_default()
    }

    pub(super) fn i32(self, offset: usize) -> i32 {
        self.at(offset).try_get_i32_ne().unwrap_or_default()
    }

    pub(super) fn u64(self, offset: usize) -> u64 {
        self.at(offset).try_get_u64_ne().unwrap_or_default()
    }

    pub(super) fn i64(self, offset: usize) -> i64 {
        self.at(offset).try_get_i64_ne().unwrap_or_default()
    }

    /// Whether the version at `offset` is the one that is wanted.
    pub(super) fn is_of(self, offset: usize, wanted: u16) -> Result<(), DecodeError> {
        let found = self.u16(offset);
        if found == wanted {
            return Ok(());
        }
        Err(DecodeError::Version { found, wanted })
    }
}
