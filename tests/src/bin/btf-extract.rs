//! Cuts a kernel's BTF down to the types that [`layout`] asks for: a few kB instead of 5 MB.
//!
//! Reads a whole BTF; writes one with the same structs, sizes and offsets, without the members that
//! nobody asks for. Refuses to write an extract that does not give the same layout.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use oom_agent::bpf::{
    btf::{Btf, Kind, RawMember, Type},
    layout::{self, Found},
};

/// Cuts a kernel's BTF down to what the agent asks it: the data of the layout tests.
#[derive(clap::Parser)]
struct Args {
    /// The kernel's BTF, as in /sys/kernel/btf/vmlinux.
    from: PathBuf,
    /// Where to write the extract.
    to: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let whole = read(&args.from)?;
    let cut = extract(&whole).with_context(|| format!("cutting {}", args.from.display()))?;
    fs::write(&args.to, &cut).with_context(|| format!("writing {}", args.to.display()))?;
    println!(
        "{}: {} of {} bytes",
        args.to.display(),
        cut.len(),
        whole.len()
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The extract of a whole BTF, checked to say the same.
fn extract(whole: &[u8]) -> Result<Vec<u8>> {
    let btf = Btf::parse(whole)?;
    let mut cut = Cut::new(&btf);
    let structs: HashSet<_> = layout::paths().map(|(of, _)| of).collect();
    for id in 1..btf.len() {
        let ty = btf.get(id).context("ids are dense")?;
        let Ok(name) = str::from_utf8(ty.name) else {
            continue;
        };
        let wanted = match ty.kind {
            Kind::Struct => structs.contains(name),
            Kind::Typedef => {
                name == layout::MARK_TYPEDEF
                    || layout::CGROUP_TYPEDEFS.contains(&name)
                    || layout::END_TYPEDEFS.contains(&name)
            }
            Kind::Func => name == layout::DECISION_FUNC,
            Kind::Enum | Kind::Enum64 => name == layout::SUBSYS_ENUM,
            _ => false,
        };
        if wanted {
            cut.add(id)?;
        }
    }
    let cut = cut.finish()?;
    let found = |btf: &Btf<'_>| -> Result<Found> {
        // Ids are the extract's own.
        let found = layout::layout(btf)?;
        Ok(Found {
            mark_id: found.mark_id.map(|_| 0),
            oom_kill_process: found.oom_kill_process.map(|_| 0),
            cgroup_tracepoints: found.cgroup_tracepoints.map(|id| id.map(|_| 0)),
            end_tracepoints: found.end_tracepoints.map(|id| id.map(|_| 0)),
            ..found
        })
    };
    let (of_cut, of_whole) = (found(&Btf::parse(&cut)?)?, found(&btf)?);
    ensure!(
        of_cut == of_whole,
        "the extract says {of_cut:?}, the whole says {of_whole:?}"
    );
    Ok(cut)
}

/// An extract in the making.
struct Cut<'a> {
    from: &'a Btf<'a>,
    /// Names of members and enumerators that are kept.
    names: HashSet<&'static [u8]>,
    /// New ids by old ones.
    ids: HashMap<u32, u32>,
    /// Types by new id - 1; empty while their own parts are being added.
    types: Vec<Vec<u8>>,
    strings: Vec<u8>,
}

impl<'a> Cut<'a> {
    fn new(from: &'a Btf<'a>) -> Self {
        let mut names: HashSet<_> = layout::paths()
            .flat_map(|(_, path)| path.split('.'))
            .map(str::as_bytes)
            .collect();
        names.insert(layout::MEMORY_ENUMERATOR.as_bytes());
        Self {
            from,
            names,
            ids: HashMap::from([(0, 0)]),
            types: Vec::new(),
            strings: vec![0],
        }
    }

    /// Adds a type and what it is made of; returns its new id.
    fn add(&mut self, id: u32) -> Result<u32> {
        if let Some(&new) = self.ids.get(&id) {
            return Ok(new);
        }
        let ty = self.from.get(id).with_context(|| format!("no type {id}"))?;
        let new = u32::try_from(self.types.len() + 1)?;
        self.ids.insert(id, new);
        self.types.push(Vec::new());

        let mut tail = Vec::new();
        let mut vlen = 0;
        let mut size_or_type = ty.size_or_type;
        match ty.kind {
            Kind::Int => tail.extend_from_slice(ty.tail),
            Kind::Float | Kind::Fwd => {}
            Kind::Ptr => size_or_type = self.pointee(ty.size_or_type)?,
            Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::TypeTag
            | Kind::Func => size_or_type = self.add(ty.size_or_type)?,
            Kind::Array => {
                let [element, index, count] = words(ty.tail)[..] else {
                    bail!("array {id} is cut short");
                };
                for word in [self.add(element)?, self.add(index)?, count] {
                    tail.extend(word.to_ne_bytes());
                }
            }
            Kind::Struct | Kind::Union => {
                for member in self.kept_members(ty) {
                    let bits = if ty.flag { member.bits << 24 } else { 0 };
                    let member_type = self.add(member.type_id)?;
                    for word in [
                        self.string(member.name)?,
                        member_type,
                        bits | member.bit_offset,
                    ] {
                        tail.extend(word.to_ne_bytes());
                    }
                    vlen += 1;
                }
            }
            Kind::Enum | Kind::Enum64 => {
                for (name, value) in self.from.enumerators(ty) {
                    if !self.names.contains(name) {
                        continue;
                    }
                    let value = value.cast_unsigned();
                    tail.extend(self.string(name)?.to_ne_bytes());
                    tail.extend(u32::try_from(value & 0xffff_ffff)?.to_ne_bytes());
                    if ty.kind == Kind::Enum64 {
                        tail.extend(u32::try_from(value >> 32)?.to_ne_bytes());
                    }
                    vlen += 1;
                }
            }
            Kind::FuncProto => {
                size_or_type = self.add(ty.size_or_type)?;
                for param in words(ty.tail).chunks_exact(2) {
                    for word in [0, self.add(param[1])?] {
                        tail.extend(word.to_ne_bytes());
                    }
                    vlen += 1;
                }
            }
            Kind::Var | Kind::Datasec | Kind::DeclTag => bail!("type {id} is no part of a struct"),
        }
        let info = u32::from(ty.flag) << 31 | (ty.kind as u32) << 24 | vlen;
        let head = [self.string(ty.name)?, info, size_or_type];
        let place = &mut self.types[new as usize - 1];
        place.extend(head.iter().flat_map(|word| word.to_ne_bytes()));
        place.extend(tail);
        Ok(new)
    }
    /// Pointers lead to a function, to a struct that is kept anyway, or nowhere.
    fn pointee(&mut self, id: u32) -> Result<u32> {
        let target = self.from.strip(id);
        let kept = target.and_then(|id| self.from.get(id)).is_some_and(|ty| {
            let of = |(of, _): (&str, _)| of.as_bytes() == ty.name;
            ty.kind == Kind::FuncProto || ty.kind == Kind::Struct && layout::paths().any(of)
        });
        match target {
            Some(target) if kept => self.add(target),
            _ => Ok(0),
        }
    }

    /// The members that a path may lead to or through.
    fn kept_members(&self, ty: Type<'a>) -> Vec<RawMember<'a>> {
        let inner = |id| {
            let inner = self.from.strip(id).and_then(|id| self.from.get(id));
            inner.is_some_and(|inner| !self.kept_members(inner).is_empty())
        };
        self.from
            .members(ty)
            .filter(|member| {
                self.names.contains(member.name) || member.name.is_empty() && inner(member.type_id)
            })
            .collect()
    }

    fn string(&mut self, name: &[u8]) -> Result<u32> {
        let whole = [name, &[0]].concat();
        let at = (0..self.strings.len())
            .filter(|&at| at == 0 || self.strings[at - 1] == 0)
            .find(|&at| self.strings[at..].starts_with(&whole));
        let at = at.unwrap_or_else(|| {
            self.strings.extend_from_slice(&whole);
            self.strings.len() - whole.len()
        });
        u32::try_from(at).context("4 GB of names")
    }

    fn finish(self) -> Result<Vec<u8>> {
        const HEADER_LEN: u32 = 24;
        let types = self.types.concat();
        let types_len = u32::try_from(types.len())?;
        let strings_len = u32::try_from(self.strings.len())?;
        let mut out = Vec::from(0xeb9f_u16.to_ne_bytes());
        out.extend([1, 0]);
        for word in [HEADER_LEN, 0, types_len, types_len, strings_len] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(self.strings);
        Ok(out)
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}
