//! The kernel's call chain at a mark → kill or not, scope, role, what was being allocated.
//!
//! Reads return addresses and `/proc/kallsyms`; keeps only the few symbols that mean something here.
//! Refuses to conclude from absence where a function may have been inlined.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    sync::{Arc, OnceLock},
    thread,
};

use crate::{
    allocation::{self, base_name},
    bpf::kallsyms::{each_symbol, is_cold},
    event::{Allocation, Role, Scope},
    evidence::{Mark, Verdict},
};

/// What a frame tells. Functions by name: `mm/oom_kill.c`, `mm/memcontrol.c`; those that tell the
/// allocation are in [`allocation::FUNCTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Mark,
    Kill,
    Choice,
    OutOfMemory,
    Memcg,
    Member,
    Sysrq,
    Allocation(Allocation),
}

const FRAMES: &[(&str, Meaning)] = &[
    ("mark_oom_victim", Meaning::Mark),
    ("__oom_kill_process", Meaning::Kill),
    ("oom_kill_process", Meaning::Choice),
    ("out_of_memory", Meaning::OutOfMemory),
    ("mem_cgroup_out_of_memory", Meaning::Memcg),
    ("oom_kill_memcg_member", Meaning::Member),
    ("moom_callback", Meaning::Sysrq),
];

/// The kernel's symbols that matter here.
#[derive(Debug, Default)]
pub struct Symbols {
    /// `[start, end)` of each, sorted by start.
    ranges: Vec<(u64, u64, Meaning)>,
    /// Whether `__oom_kill_process` exists as a function of its own: only then does its absence
    /// from a stack mean that nothing was killed.
    kill_is_a_function: bool,
}

impl Symbols {
    /// Reads `/proc/kallsyms` on a thread of its own, for it takes as long as loading the programs.
    pub fn spawn() -> io::Result<Arc<OnceLock<Self>>> {
        let symbols = Arc::new(OnceLock::new());
        let slot = symbols.clone();
        thread::Builder::new()
            .name("kallsyms".into())
            .spawn(move || {
                let read = File::open("/proc/kallsyms")
                    .and_then(|file| Self::read(BufReader::with_capacity(64 * 1024, file)));
                let found = read.unwrap_or_else(|error| {
                    tracing::warn!("cannot read /proc/kallsyms: {error}");
                    Self::default()
                });
                let _ = slot.set(found);
            })?;
        Ok(symbols)
    }

    /// Reads `/proc/kallsyms`. Without `CAP_SYSLOG` every address there is 0: then nothing is known.
    pub fn read(kallsyms: impl BufRead) -> io::Result<Self> {
        let allocations = allocation::FUNCTIONS
            .iter()
            .map(|&(name, what)| (name, Meaning::Allocation(what)));
        let wanted: HashMap<&[u8], Meaning> = FRAMES
            .iter()
            .copied()
            .chain(allocations)
            .map(|(name, meaning)| (name.as_bytes(), meaning))
            .collect();
        Self::scan(kallsyms, &wanted)
    }

    fn scan(kallsyms: impl BufRead, wanted: &HashMap<&[u8], Meaning>) -> io::Result<Self> {
        let mut found = Self::default();
        // kallsyms is sorted by address within the kernel image: a symbol ends where the next begins.
        let mut open: Vec<(u64, Meaning)> = Vec::new();
        each_symbol(kallsyms, |address, name| {
            if open.first().is_some_and(|&(start, _)| start < address) {
                for (start, meaning) in open.drain(..) {
                    found.ranges.push((start, address, meaning));
                }
            }
            if address != 0
                && let Some(&meaning) = wanted.get(base_name(name))
            {
                open.push((address, meaning));
                found.kill_is_a_function |= meaning == Meaning::Kill && !is_cold(name);
            }
        })?;
        found.ranges.sort_unstable_by_key(|&(start, ..)| start);
        Ok(found)
    }

    /// Whether any address could be resolved at all.
    #[must_use]
    pub fn usable(&self) -> bool {
        !self.ranges.is_empty()
    }

    fn meaning(&self, return_address: u64) -> Option<Meaning> {
        // A return address is behind its call, which may be the last instruction of a function.
        let address = return_address.wrapping_sub(1);
        let index = self.ranges.partition_point(|&(start, ..)| start <= address);
        let &(_, end, meaning) = self.ranges.get(index.checked_sub(1)?)?;
        (address < end).then_some(meaning)
    }

    /// Writes into `mark` what its stack tells.
    pub fn classify(&self, addresses: &[u64], mark: &mut Mark) {
        let frames: Vec<Meaning> = addresses
            .iter()
            .filter_map(|&address| self.meaning(address))
            .collect();
        let has = |meaning| frames.contains(&meaning);
        let way_known = has(Meaning::OutOfMemory) || has(Meaning::Choice) || has(Meaning::Memcg);
        mark.verdict = if has(Meaning::Kill) {
            Verdict::Kill
        } else if way_known && self.kill_is_a_function {
            Verdict::MarkOnly
        } else {
            Verdict::Unknown
        };
        mark.scope = if has(Meaning::Sysrq) {
            Some(Scope::Sysrq)
        } else if has(Meaning::Memcg) {
            Some(Scope::Memcg)
        } else if has(Meaning::OutOfMemory) {
            Some(Scope::System)
        } else {
            None
        };
        mark.role = match mark.verdict {
            Verdict::Kill if has(Meaning::Member) => Some(Role::GroupMember),
            Verdict::Kill => Some(Role::Chosen),
            Verdict::MarkOnly | Verdict::Unknown => None,
        };
        let allocations = frames.iter().filter_map(|frame| match frame {
            Meaning::Allocation(allocation) => Some(*allocation),
            _ => None,
        });
        mark.allocation = allocation::innermost(allocations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &[u8] = b"\
ffffffff81001000 t __oom_kill_process.cold
ffffffff81001100 t other
ffffffff81597b90 t mark_oom_victim
ffffffff81598eb0 t __oom_kill_process
ffffffff81599310 t oom_kill_process.isra.0
ffffffff815994b0 t oom_kill_memcg_member
ffffffff81599ce0 T out_of_memory
ffffffff8168dc30 t mem_cgroup_out_of_memory
ffffffff8168dd30 t try_charge_memcg
ffffffff81700000 t do_anonymous_page
ffffffff81700100 t moom_callback
ffffffff81700200 t next
";

    const MARK: u64 = 0xffff_ffff_8159_7ba0;
    const KILL: u64 = 0xffff_ffff_8159_8f00;
    const KILL_END: u64 = 0xffff_ffff_8159_9310;
    const KILL_COLD: u64 = 0xffff_ffff_8100_1010;
    const CHOICE: u64 = 0xffff_ffff_8159_9400;
    const MEMBER: u64 = 0xffff_ffff_8159_94c0;
    const OOM: u64 = 0xffff_ffff_8159_9d00;
    const MEMCG: u64 = 0xffff_ffff_8168_dc40;
    const ANON: u64 = 0xffff_ffff_8170_0010;
    const SYSRQ: u64 = 0xffff_ffff_8170_0110;

    fn told(kallsyms: &[u8], stack: &[u64]) -> (Verdict, Option<Scope>, Option<Role>) {
        let mut mark = Mark::default();
        Symbols::read(kallsyms).unwrap().classify(stack, &mut mark);
        (mark.verdict, mark.scope, mark.role)
    }

    #[test]
    fn the_call_chain_says_what_the_mark_means() {
        let chosen = Some(Role::Chosen);
        for (stack, expected) in [
            (
                &[MARK, KILL, CHOICE, OOM, MEMCG, ANON][..],
                (Verdict::Kill, Some(Scope::Memcg), chosen),
            ),
            (
                &[MARK, KILL_END, CHOICE, OOM],
                (Verdict::Kill, Some(Scope::System), chosen),
            ),
            (
                &[MARK, KILL_COLD, CHOICE, OOM],
                (Verdict::Kill, Some(Scope::System), chosen),
            ),
            (
                &[MARK, KILL, MEMBER, CHOICE, OOM, MEMCG],
                (Verdict::Kill, Some(Scope::Memcg), Some(Role::GroupMember)),
            ),
            (
                &[MARK, KILL, CHOICE, OOM, SYSRQ],
                (Verdict::Kill, Some(Scope::Sysrq), chosen),
            ),
            (
                &[MARK, OOM, MEMCG],
                (Verdict::MarkOnly, Some(Scope::Memcg), None),
            ),
            (
                &[MARK, CHOICE, OOM],
                (Verdict::MarkOnly, Some(Scope::System), None),
            ),
            (&[MARK], (Verdict::Unknown, None, None)),
            (&[], (Verdict::Unknown, None, None)),
        ] {
            assert_eq!(told(KALLSYMS, stack), expected, "{stack:x?}");
        }
    }

    #[test]
    fn absence_of_an_inlined_function_proves_nothing() {
        let inlined: Vec<u8> = KALLSYMS
            .split_inclusive(|&byte| byte == b'\n')
            .filter(|line| !line.ends_with(b"t __oom_kill_process\n"))
            .flatten()
            .copied()
            .collect();
        assert_eq!(told(&inlined, &[MARK, CHOICE, OOM]).0, Verdict::Unknown);
    }

    #[test]
    fn hidden_addresses_are_unusable() {
        let hidden = b"0000000000000000 t __oom_kill_process\n0000000000000000 T out_of_memory\n";
        let symbols = Symbols::read(&hidden[..]).unwrap();
        assert!(!symbols.usable());
    }

    #[test]
    fn the_innermost_allocation_counts() {
        let mut mark = Mark::default();
        Symbols::read(KALLSYMS)
            .unwrap()
            .classify(&[MARK, KILL, CHOICE, OOM, MEMCG, ANON], &mut mark);
        assert_eq!(mark.allocation, Some(Allocation::AnonPageFault));
    }
}
