//! BTF, the kernel's description of its own types (Documentation/bpf/btf.rst), read in one pass.
//!
//! Reads the bytes of `/sys/kernel/btf/vmlinux` or of an extract of it; answers where a member
//! stands, what an enumerator is worth, what a function takes. Builds nothing but an index of 8 bytes a
//! type, and borrows the rest. Refuses other byte orders, versions and kinds that it cannot step
//! over, and sections that do not fit the file; whatever else the bytes say, it does not panic.

mod format;
#[cfg(test)]
mod tests;

pub use format::{BtfError, Kind};
use format::{
    ENUM_LEN, ENUM64_LEN, MEMBER_LEN, PARAM_LEN, TYPE_LEN, len_u32, sections, vlen, word,
};

/// Typedefs, modifiers and pointers followed, or anonymous structs entered, before a chain counts as broken.
const MAX_DEPTH: usize = 32;

/// Members looked at for one name before nested anonymous structs count as broken.
const MAX_STEPS: usize = 1 << 16;

/// A type as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// What it is.
    pub kind: Kind,
    /// `kind_flag`: members may be bitfields, enumerators are signed.
    pub flag: bool,
    /// Its name, empty if anonymous.
    pub name: &'a [u8],
    /// The size in bytes, or the type that it refers to, by kind.
    pub size_or_type: u32,
    /// The entries that follow the common part, undecoded.
    pub tail: &'a [u8],
}

/// One member of a struct or union, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct RawMember<'a> {
    /// Its name, empty if anonymous.
    pub name: &'a [u8],
    /// Its type.
    pub type_id: u32,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits of a bitfield, 0 for an ordinary member.
    pub bits: u32,
}

/// Where a path led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the outermost struct.
    pub bit_offset: u32,
    /// Width in bits of a bitfield.
    pub bitfield: Option<u32>,
    /// The member's type, or that of one element if it is an array.
    pub type_id: u32,
    /// Bytes from one element to the next of the last array on the path.
    pub stride: Option<u32>,
}

impl Member {
    /// Bytes from the start of the outermost struct; `None` for a bitfield.
    #[must_use]
    pub fn offset(&self) -> Option<u32> {
        (self.bitfield.is_none() && self.bit_offset.is_multiple_of(8))
            .then_some(self.bit_offset / 8)
    }
}

/// A BTF whose sections have been checked and indexed.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts, by id; id 0 is `void` and has no place.
    starts: Vec<u32>,
    /// Hash of each indexed type's name, by id; 0 for the others.
    hashes: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Checks the header and walks over every type once.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let (types, strings) = sections(bytes)?;
        // A kernel's types take 25 bytes on average: room for all of them without growing.
        let mut starts = Vec::with_capacity(types.len() / 24);
        let mut hashes = Vec::with_capacity(types.len() / 24);
        starts.push(u32::MAX);
        hashes.push(0);

        let mut at = 0;
        while at < types.len() {
            let cut = BtfError::Truncated("types");
            let id = len_u32(starts.len());
            let (Some(name), Some(info)) = (word(types, at), word(types, at + 4)) else {
                return Err(cut);
            };
            let kind = Kind::of(info).ok_or(BtfError::UnknownKind { id, info })?;
            let name = strings
                .get(name as usize..)
                .filter(|rest| !rest.is_empty())
                .ok_or(BtfError::Name { id })?;
            starts.push(len_u32(at));
            hashes.push(if kind.is_indexed() { hash(name) } else { 0 });
            at += TYPE_LEN + kind.tail_len(vlen(info));
            if at > types.len() {
                return Err(cut);
            }
        }
        Ok(Self {
            types,
            strings,
            starts,
            hashes,
        })
    }

    /// How many types there are, `void` included: ids are below this.
    #[must_use]
    pub fn len(&self) -> u32 {
        len_u32(self.starts.len())
    }

    /// Whether there is no type but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.len() == 1
    }

    /// The type with this id; `None` for `void` and for ids that do not exist.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Type<'a>> {
        let at = *self.starts.get(id as usize)? as usize;
        let info = word(self.types, at.checked_add(4)?)?;
        let kind = Kind::of(info)?;
        let tail = at + TYPE_LEN;
        Some(Type {
            kind,
            flag: info >> 31 == 1,
            name: self.name(word(self.types, at)?)?,
            size_or_type: word(self.types, at + 8)?,
            tail: self.types.get(tail..tail + kind.tail_len(vlen(info)))?,
        })
    }

    /// The ids of all types of this kind and name: structs, unions, enums, typedefs and functions.
    pub fn ids(&self, kind: Kind, name: &str) -> impl Iterator<Item = u32> {
        let wanted = hash(name.as_bytes());
        (0u32..)
            .zip(&self.hashes)
            .filter(move |&(_, &hash)| hash == wanted)
            .map(|(id, _)| id)
            .filter(move |&id| {
                self.get(id)
                    .is_some_and(|ty| ty.kind == kind && ty.name == name.as_bytes())
            })
    }

    /// The members of a struct or union, in order.
    pub fn members(&self, ty: Type<'a>) -> impl Iterator<Item = RawMember<'a>> {
        let flag = ty.flag;
        entries(&ty, &[Kind::Struct, Kind::Union], MEMBER_LEN).filter_map(move |entry| {
            let type_id = word(entry, 4)?;
            let offset = word(entry, 8)?;
            let (bit_offset, bits) = if flag {
                (offset & 0x00ff_ffff, offset >> 24)
            } else {
                (offset, self.narrow_int(type_id))
            };
            Some(RawMember {
                name: self.name(word(entry, 0)?)?,
                type_id,
                bit_offset,
                bits,
            })
        })
    }

    /// Follows a dotted path from a struct or union: through anonymous members, typedefs, modifiers and
    /// nested structs, and into the first element of arrays. Not through pointers.
    #[must_use]
    pub fn member(&self, id: u32, path: &str) -> Option<Member> {
        let mut steps = MAX_STEPS;
        let mut found = Member {
            bit_offset: 0,
            bitfield: None,
            type_id: id,
            stride: None,
        };
        for name in path.split('.') {
            let inner = self.find(found.type_id, name.as_bytes(), MAX_DEPTH, &mut steps)?;
            found.bit_offset = found.bit_offset.checked_add(inner.bit_offset)?;
            found.bitfield = (inner.bits != 0).then_some(inner.bits);
            found.type_id = inner.type_id;
            while let Some((element, _)) = self.array(found.type_id) {
                steps = steps.checked_sub(1)?;
                found.stride = Some(self.size(element)?);
                found.type_id = element;
            }
        }
        Some(found)
    }

    /// The names and values of an enum.
    pub fn enumerators(&self, ty: Type<'a>) -> impl Iterator<Item = (&'a [u8], i64)> {
        let signed = ty.flag;
        let narrow = entries(&ty, &[Kind::Enum], ENUM_LEN);
        let wide = entries(&ty, &[Kind::Enum64], ENUM64_LEN);
        narrow.chain(wide).filter_map(move |entry| {
            let low = word(entry, 4)?;
            let value = match word(entry, 8) {
                Some(high) => (u64::from(high) << 32 | u64::from(low)).cast_signed(),
                None if signed => i64::from(low.cast_signed()),
                None => i64::from(low),
            };
            Some((self.name(word(entry, 0)?)?, value))
        })
    }

    /// The value of an enumerator, of an enum by name.
    #[must_use]
    pub fn enum_value(&self, name: &str, enumerator: &str) -> Option<i64> {
        let enums = self
            .ids(Kind::Enum, name)
            .chain(self.ids(Kind::Enum64, name));
        let mut values = enums
            .filter_map(|id| self.get(id))
            .flat_map(|ty| self.enumerators(ty));
        let (_, value) = values.find(|&(name, _)| name == enumerator.as_bytes())?;
        Some(value)
    }

    /// The parameter types of a function, of a pointer to one, or of a typedef of either.
    #[must_use]
    pub fn params(&self, id: u32) -> Option<Vec<u32>> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.get(self.strip(id)?)?;
            match ty.kind {
                Kind::Func | Kind::Ptr => id = ty.size_or_type,
                Kind::FuncProto => {
                    let params = entries(&ty, &[Kind::FuncProto], PARAM_LEN);
                    return params.map(|entry| word(entry, 4)).collect();
                }
                _ => return None,
            }
        }
        None
    }

    /// The type that a pointer points to, both without typedefs and modifiers.
    #[must_use]
    pub fn pointee(&self, id: u32) -> Option<Type<'a>> {
        let pointer = self.get(self.strip(id)?)?;
        (pointer.kind == Kind::Ptr)
            .then(|| self.get(self.strip(pointer.size_or_type)?))
            .flatten()
    }

    /// The type behind typedefs and modifiers.
    #[must_use]
    pub fn strip(&self, id: u32) -> Option<u32> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.get(id)? {
                Type {
                    kind:
                        Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag,
                    size_or_type,
                    ..
                } => id = size_or_type,
                _ => return Some(id),
            }
        }
        None
    }

    /// The size in bytes of a type that has one.
    #[must_use]
    pub fn size(&self, id: u32) -> Option<u32> {
        let mut id = id;
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            id = self.strip(id)?;
            let Some((element, elements)) = self.array(id) else {
                break;
            };
            count = count.checked_mul(elements)?;
            id = element;
        }
        let ty = self.get(id)?;
        let size = match ty.kind {
            Kind::Ptr => len_u32(size_of::<usize>()),
            Kind::Int | Kind::Float | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => {
                ty.size_or_type
            }
            _ => return None,
        };
        size.checked_mul(count)
    }

    /// Element type and count of an array.
    fn array(&self, id: u32) -> Option<(u32, u32)> {
        let ty = self.get(self.strip(id)?)?;
        (ty.kind == Kind::Array).then_some((word(ty.tail, 0)?, word(ty.tail, 8)?))
    }

    /// A member by name, also inside anonymous structs and unions.
    fn find(&self, id: u32, name: &[u8], depth: usize, steps: &mut usize) -> Option<RawMember<'a>> {
        let ty = self.get(self.strip(id)?)?;
        for member in self.members(ty) {
            *steps = steps.checked_sub(1)?;
            if member.name == name && !name.is_empty() {
                return Some(member);
            }
            if member.name.is_empty()
                && depth > 0
                && let Some(inner) = self.find(member.type_id, name, depth - 1, steps)
            {
                let bit_offset = member.bit_offset.checked_add(inner.bit_offset)?;
                return Some(RawMember {
                    bit_offset,
                    ..inner
                });
            }
        }
        None
    }

    /// Width of an `INT` narrower than its storage, 0 otherwise: how bitfields were written before
    /// `kind_flag`.
    fn narrow_int(&self, id: u32) -> u32 {
        let int = self.strip(id).and_then(|id| self.get(id));
        let Some(int) = int.filter(|ty| ty.kind == Kind::Int) else {
            return 0;
        };
        let bits = word(int.tail, 0).map_or(0, |encoding| encoding & 0xff);
        if u64::from(bits) < u64::from(int.size_or_type) * 8 {
            bits
        } else {
            0
        }
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

/// The entries behind a type of one of these kinds; none if it is another.
fn entries<'a>(
    ty: &Type<'a>,
    kinds: &[Kind],
    len: usize,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let tail = if kinds.contains(&ty.kind) {
        ty.tail
    } else {
        &[]
    };
    tail.chunks_exact(len)
}

/// FNV-1a of the start of a name, up to the first NUL; never 0. Hashing twelve bytes takes a third of
/// the time of hashing them all, and leaves few enough collisions to compare.
fn hash(name: &[u8]) -> u32 {
    let bytes = name.iter().take(12).take_while(|&&byte| byte != 0);
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}
