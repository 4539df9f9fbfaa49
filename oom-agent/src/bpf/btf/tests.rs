//! The reader against small BTFs made by hand, and against bytes that are not quite BTF.

use proptest::prelude::*;

use super::*;

/// A BTF in the making: types in order, ids from 1.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn string(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = len_u32(self.strings.len());
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// A type whose entries are (name, words).
    fn ty(
        mut self,
        kind: Kind,
        flag: bool,
        name: &str,
        size: u32,
        entries: &[(&str, &[u32])],
    ) -> Self {
        let name = self.string(name);
        let vlen = if kind == Kind::Int {
            0
        } else {
            len_u32(entries.len())
        };
        self.words(&[
            name,
            u32::from(flag) << 31 | (kind as u32) << 24 | vlen,
            size,
        ]);
        for (name, words) in entries {
            let name = self.string(name);
            self.words(&[name]);
            self.words(words);
        }
        self
    }

    fn int(mut self, name: &str, size: u32, bits: u32) -> Self {
        let name = self.string(name);
        self.words(&[name, (Kind::Int as u32) << 24, size, bits]);
        self
    }

    fn array(mut self, element: u32, count: u32) -> Self {
        self.words(&[0, (Kind::Array as u32) << 24, 0, element, 1, count]);
        self
    }

    fn bytes(self) -> Vec<u8> {
        let (types, strings) = (len_u32(self.types.len()), len_u32(self.strings.len()));
        let mut out = Vec::from(0xeb9f_u16.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, types, types, strings] {
            out.extend(u32::to_ne_bytes(word));
        }
        [out, self.types, self.strings].concat()
    }
}

fn found(btf: &Btf<'_>, of: &str, path: &str) -> Option<Member> {
    btf.member(btf.ids(Kind::Struct, of).next()?, path)
}

fn offset(btf: &Btf<'_>, of: &str, path: &str) -> Option<u32> {
    found(btf, of, path)?.offset()
}

#[test]
fn a_path_leads_through_anonymous_members_modifiers_and_arrays() {
    let bytes = Blob::default()
        .int("int", 4, 32) // 1
        .ty(Kind::Struct, false, "inner", 24, &[("count", &[5, 64])]) // 2
        .ty(Kind::Const, false, "", 2, &[]) // 3
        .ty(Kind::Typedef, false, "inner_t", 3, &[]) // 4
        .array(1, 4) // 5
        .array(4, 7) // 6
        .ty(
            Kind::Union,
            false,
            "",
            168,
            &[("a", &[1, 0]), ("list", &[6, 0])],
        ) // 7
        .ty(Kind::Struct, false, "", 176, &[("", &[7, 64])]) // 8
        .ty(
            Kind::Struct,
            false,
            "outer",
            200,
            &[("first", &[1, 0]), ("", &[8, 128])],
        ) // 9
        .bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.len(), 10);
    assert_eq!(offset(&btf, "outer", "first"), Some(0));
    assert_eq!(offset(&btf, "outer", "a"), Some(24));
    assert_eq!(found(&btf, "outer", "list").unwrap().stride, Some(24));
    let count = found(&btf, "outer", "list.count").unwrap();
    assert_eq!(
        (count.offset(), count.stride, count.type_id),
        (Some(32), Some(4), 1)
    );
    assert_eq!(btf.size(6), Some(168));
    for nothing in ["b", "first.a", "list.count.x", "", "a.", ".a"] {
        assert_eq!(found(&btf, "outer", nothing), None, "{nothing:?}");
    }
    assert_eq!(
        found(&btf, "inner_t", "count"),
        None,
        "a typedef is no struct"
    );
}

#[test]
fn a_bitfield_has_no_offset_in_either_notation() {
    let members: &[(&str, &[u32])] = &[("whole", &[1, 8]), ("bits", &[1, 0x0300_0000 | 0x28])];
    let bytes = Blob::default()
        .int("unsigned int", 4, 32)
        .int("unsigned int", 4, 3)
        .ty(Kind::Struct, true, "flagged", 8, members)
        .ty(
            Kind::Struct,
            false,
            "old",
            8,
            &[("whole", &[1, 32]), ("bits", &[2, 40])],
        )
        .bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(offset(&btf, "flagged", "whole"), Some(1));
    assert_eq!(offset(&btf, "old", "whole"), Some(4));
    for of in ["flagged", "old"] {
        let bits = found(&btf, of, "bits").unwrap();
        assert_eq!(
            (bits.bit_offset, bits.bitfield, bits.offset()),
            (40, Some(3), None)
        );
    }
}

#[test]
fn forward_declarations_are_skipped_and_every_struct_of_a_name_is_given() {
    let bytes = Blob::default()
        .int("int", 4, 32)
        .ty(Kind::Fwd, false, "cgroup", 0, &[])
        .ty(Kind::Struct, false, "cgroup", 4, &[("x", &[1, 0])])
        .ty(Kind::Struct, false, "cgroup", 8, &[("kn", &[1, 32])])
        .ty(Kind::Union, false, "cgroup", 8, &[])
        .bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.ids(Kind::Struct, "cgroup").collect::<Vec<_>>(), [3, 4]);
    assert_eq!(btf.ids(Kind::Union, "cgroup").collect::<Vec<_>>(), [5]);
    assert_eq!(btf.ids(Kind::Struct, "cgrou").count(), 0);
}

#[test]
fn enumerators_are_signed_as_the_enum_is() {
    let minus_one: &[(&str, &[u32])] = &[("low", &[7]), ("all", &[u32::MAX])];
    let bytes = Blob::default()
        .ty(Kind::Enum, false, "plain", 4, minus_one)
        .ty(Kind::Enum, true, "signed", 4, minus_one)
        .ty(
            Kind::Enum64,
            true,
            "wide",
            8,
            &[("neg", &[u32::MAX, u32::MAX]), ("big", &[1, 2])],
        )
        .bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.enum_value("plain", "low"), Some(7));
    assert_eq!(btf.enum_value("plain", "all"), Some(i64::from(u32::MAX)));
    assert_eq!(btf.enum_value("signed", "all"), Some(-1));
    assert_eq!(btf.enum_value("wide", "neg"), Some(-1));
    assert_eq!(btf.enum_value("wide", "big"), Some(2 << 32 | 1));
    assert_eq!(btf.enum_value("plain", "big"), None);
}

#[test]
fn a_function_is_known_by_what_it_takes() {
    let bytes = Blob::default()
        .int("int", 4, 32) // 1
        .ty(Kind::Struct, false, "task_struct", 8, &[]) // 2
        .ty(Kind::Ptr, false, "", 2, &[]) // 3
        .ty(Kind::Ptr, false, "", 0, &[]) // 4
        .ty(
            Kind::FuncProto,
            false,
            "",
            0,
            &[("", &[4]), ("task", &[3]), ("n", &[1])],
        ) // 5
        .ty(Kind::Ptr, false, "", 5, &[]) // 6
        .ty(Kind::Typedef, false, "btf_trace_x", 6, &[]) // 7
        .ty(Kind::Func, false, "x", 5, &[]) // 8
        .bytes();
    // An entry of a prototype is (name, type), so the builder's order fits.
    let btf = Btf::parse(&bytes).unwrap();
    for id in [5, 6, 7, 8] {
        assert_eq!(btf.params(id), Some(vec![4, 3, 1]), "{id}");
    }
    assert_eq!(btf.params(1), None);
    assert_eq!(btf.pointee(3).unwrap().name, b"task_struct");
    assert!(btf.pointee(4).is_none(), "void * points to no type");
}

#[test]
fn what_is_not_readable_is_refused_by_its_reason() {
    let good = Blob::default().int("int", 4, 32).bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes).map(|btf| btf.len())
    };
    assert_eq!(with(0, good[0]), Ok(2));
    assert_eq!(with(0, 0), Err(BtfError::NotBtf));
    assert_eq!(Btf::parse(&[]).unwrap_err(), BtfError::NotBtf);
    let swapped = [good[1], good[0], 1, 0];
    assert_eq!(Btf::parse(&swapped).unwrap_err(), BtfError::OtherEndian);
    assert_eq!(with(2, 2), Err(BtfError::Version(2)));
    assert_eq!(
        with(good.len() - 1, b'x'),
        Err(BtfError::Truncated("strings"))
    );
    for len in 4..good.len() {
        let error = Btf::parse(&good[..len]).unwrap_err();
        assert!(matches!(error, BtfError::Truncated(_)), "{len}: {error}");
    }
    let info = (24 + 4..24 + 8).rev().find(|&at| good[at] == 1).unwrap();
    assert!(matches!(
        with(info, 0),
        Err(BtfError::UnknownKind { id: 1, .. })
    ));
    assert!(matches!(
        with(info, 20),
        Err(BtfError::UnknownKind { id: 1, .. })
    ));
    assert!(matches!(
        with(info, 0x41),
        Err(BtfError::UnknownKind { id: 1, .. })
    ));
    assert_eq!(with(24, 200), Err(BtfError::Name { id: 1 }));
    assert_eq!(with(24 + 4, 3), Ok(2), "an int has no entries to count");
}

#[test]
fn a_type_that_contains_itself_ends() {
    let itself: Vec<(&str, &[u32])> = vec![("", &[1, 0]); 1000];
    let bytes = Blob::default()
        .ty(Kind::Struct, false, "snake", 8, &itself)
        .ty(Kind::Typedef, false, "loop", 2, &[])
        .array(3, 2)
        .ty(
            Kind::Struct,
            false,
            "holder",
            8,
            &[("a", &[3, 0]), ("b", &[2, 0])],
        )
        .bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(found(&btf, "snake", "tail"), None);
    assert_eq!(found(&btf, "holder", "a"), None);
    assert_eq!(found(&btf, "holder", "b.c"), None);
    assert_eq!((btf.strip(2), btf.size(2), btf.size(3)), (None, None, None));
    assert_eq!(btf.params(2), None);
}

/// Asks a BTF everything about every type.
fn exhaust(btf: &Btf<'_>) {
    for id in 0..=btf.len().min(2000) {
        if let Some(ty) = btf.get(id) {
            btf.members(ty).for_each(drop);
            btf.enumerators(ty).for_each(drop);
        }
        let _ = (btf.size(id), btf.params(id), btf.pointee(id), btf.strip(id));
        let _ = (btf.member(id, "memory.usage"), btf.member(id, "pid"));
    }
    let _ = crate::bpf::layout::layout(btf);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(btf) = Btf::parse(&bytes) {
            exhaust(&btf);
        }
    }

    #[test]
    fn no_mutation_of_a_real_btf_makes_it_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        len in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut bytes = include_bytes!("../../../tests/btf/6.18.15.btf").to_vec();
        for (at, byte) in flips {
            *at.get_mut(&mut bytes) = byte;
        }
        if cut {
            bytes.truncate(len.index(bytes.len()));
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            exhaust(&btf);
        }
    }
}
