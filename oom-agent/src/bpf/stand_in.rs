//! A stand-in for the kernel's BTF, small enough to be parsed in a millisecond.
//!
//! aya wants a parsed BTF only to look up the id of the type that a program attaches to. Our own
//! reader has those ids already, so aya gets a BTF in which just these types have a name, at their
//! real ids, and every other type is an empty placeholder. Parsing the kernel's own costs several
//! times the agent's whole memory.

/// A type that aya will look up: its name, its BTF kind and its id in the running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name as aya asks for it.
    pub name: &'a str,
    /// What it is.
    pub kind: TargetKind,
    /// Id in the kernel's BTF.
    pub id: u32,
}

/// The kinds that programs attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// `btf_trace_<tracepoint>`.
    Typedef,
    /// A kernel function.
    Func,
}

const BTF_MAGIC: u16 = 0xeb9f;
const HEADER_LEN: u32 = 24;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// BTF bytes in host byte order (Documentation/bpf/btf.rst) that hold `targets` at their ids.
#[must_use]
pub fn stand_in(targets: &[Target<'_>]) -> Vec<u8> {
    let mut strings = vec![0];
    let mut named: Vec<(u32, u32, u32)> = Vec::with_capacity(targets.len());
    for target in targets {
        let at = u32::try_from(strings.len()).unwrap_or(0);
        strings.extend_from_slice(target.name.as_bytes());
        strings.push(0);
        let kind = match target.kind {
            TargetKind::Typedef => KIND_TYPEDEF,
            TargetKind::Func => KIND_FUNC,
        };
        named.push((target.id, at, kind));
    }
    let last = targets.iter().map(|target| target.id).max().unwrap_or(0);
    let types_len = last.saturating_mul(12);
    let strings_len = u32::try_from(strings.len()).unwrap_or(0);

    let mut btf = Vec::with_capacity((HEADER_LEN + types_len + strings_len) as usize);
    btf.extend(BTF_MAGIC.to_ne_bytes());
    btf.extend([1, 0]);
    for word in [HEADER_LEN, 0, types_len, types_len, strings_len] {
        btf.extend(word.to_ne_bytes());
    }
    for id in 1..=last {
        let (name, kind) = named
            .iter()
            .find(|(of, ..)| *of == id)
            .map_or((0, KIND_FWD), |&(_, name, kind)| (name, kind));
        for word in [name, kind << 24, 0] {
            btf.extend(word.to_ne_bytes());
        }
    }
    btf.extend(strings);
    btf
}

#[cfg(test)]
mod tests {
    use aya::{Btf, Endianness};

    use super::*;

    #[test]
    fn aya_finds_each_target_at_its_real_id() {
        let targets = [
            Target {
                name: "btf_trace_mark_victim",
                kind: TargetKind::Typedef,
                id: 7_321,
            },
            Target {
                name: "oom_kill_process",
                kind: TargetKind::Func,
                id: 40_002,
            },
        ];
        let btf = Btf::parse(&stand_in(&targets), Endianness::default()).unwrap();
        assert_eq!(
            btf.id_by_type_name_kind("btf_trace_mark_victim", aya_obj::btf::BtfKind::Typedef)
                .unwrap(),
            7_321
        );
        assert_eq!(
            btf.id_by_type_name_kind("oom_kill_process", aya_obj::btf::BtfKind::Func)
                .unwrap(),
            40_002
        );
    }
}
