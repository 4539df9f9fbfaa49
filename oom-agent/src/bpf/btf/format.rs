//! The bytes of a BTF: header, kinds, lengths.
//!
//! Reads the header and single words; emits the two sections and the [`Kind`] of a type. Refuses what
//! [`BtfError`] names.

use thiserror::Error;

const HEADER_LEN: usize = 24;
pub(super) const TYPE_LEN: usize = 12;
pub(super) const MEMBER_LEN: usize = 12;
pub(super) const ENUM_LEN: usize = 8;
pub(super) const ENUM64_LEN: usize = 12;
pub(super) const PARAM_LEN: usize = 8;

/// Why bytes are not a BTF that can be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// The magic number is not there.
    #[error("not BTF")]
    NotBtf,
    /// Written by a machine of the other byte order.
    #[error("BTF of the other byte order")]
    OtherEndian,
    /// A version other than 1.
    #[error("BTF version {0}, only 1 is known")]
    Version(u8),
    /// A section or a type reaches past its end.
    #[error("BTF cut short in its {0}")]
    Truncated(&'static str),
    /// A kind of type whose length is unknown, so that nothing after it can be read.
    #[error("BTF type {id} has unknown kind bits {info:#010x}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its `info` word.
        info: u32,
    },
    /// A name outside of the string section.
    #[error("BTF type {id} has a name outside of the string section")]
    Name {
        /// The type.
        id: u32,
    },
}

/// `BTF_KIND_*` (include/uapi/linux/btf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub enum Kind {
    Int = 1,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    /// From an `info` word; `None` if the kind is unknown or a reserved bit is set.
    pub(super) fn of(info: u32) -> Option<Self> {
        const RESERVED: u32 = 0x60ff_0000;
        if info & RESERVED != 0 {
            return None;
        }
        let kind = (info >> 24 & 0x1f) as usize;
        Self::ALL.get(kind.checked_sub(1)?).copied()
    }

    /// Bytes that follow the common part of a type with `vlen` entries.
    pub(super) fn tail_len(self, vlen: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union => MEMBER_LEN * vlen,
            Self::Enum => ENUM_LEN * vlen,
            Self::Enum64 => ENUM64_LEN * vlen,
            Self::FuncProto => PARAM_LEN * vlen,
            Self::Datasec => 12 * vlen,
            _ => 0,
        }
    }

    /// Whether types of this kind are found by name. Forward declarations are not: they say nothing.
    pub(super) fn is_indexed(self) -> bool {
        matches!(
            self,
            Self::Struct | Self::Union | Self::Enum | Self::Enum64 | Self::Typedef | Self::Func
        )
    }
}

/// The type and string sections, both inside of the file, the strings closed by a NUL.
pub(super) fn sections(bytes: &[u8]) -> Result<(&[u8], &[u8]), BtfError> {
    const MAGIC: u16 = 0xeb9f;
    let header = bytes.get(..4).ok_or(BtfError::NotBtf)?;
    let magic = u16::from_ne_bytes([header[0], header[1]]);
    if magic == MAGIC.swap_bytes() {
        return Err(BtfError::OtherEndian);
    }
    if magic != MAGIC {
        return Err(BtfError::NotBtf);
    }
    if header[2] != 1 {
        return Err(BtfError::Version(header[2]));
    }
    let section = |at| {
        let field = |at| word(bytes, at).map(|word| word as usize);
        let header_len = field(4).filter(|&len| len >= HEADER_LEN)?;
        let start = header_len.checked_add(field(at)?)?;
        bytes.get(start..start.checked_add(field(at + 4)?)?)
    };
    let types = section(8).ok_or(BtfError::Truncated("types"))?;
    let strings = section(16).ok_or(BtfError::Truncated("strings"))?;
    if strings.last() != Some(&0) {
        return Err(BtfError::Truncated("strings"));
    }
    Ok((types, strings))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

pub(super) fn vlen(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Sections are addressed with 32 bits, so every length in them fits.
pub(super) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
