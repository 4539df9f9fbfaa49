//! The contract's closed sets in plain words. Reads nothing else; leaves nothing without a word.

use crate::event::{Allocation, Limit, LimitSource, Scope};

/// What the memory was wanted for.
pub(crate) fn allocation(allocation: Allocation) -> &'static str {
    match allocation {
        Allocation::AnonPageFault => "for a page fault on anonymous memory",
        Allocation::FilePageFault => "for a page fault on a mapped file",
        Allocation::CopyOnWrite => "for a write to a shared page (copy on write)",
        Allocation::PageCache => "for reading or writing a file (page cache)",
        Allocation::Shmem => "for shared memory or tmpfs",
        Allocation::Slab => "for kernel objects (slab)",
        Allocation::PageTable => "for page tables",
        Allocation::SwapIn => "for a page coming back from swap",
        Allocation::Socket => "for socket buffers",
        Allocation::HugePage => "for a huge page",
        Allocation::Vmalloc => "for kernel stacks or other vmalloc memory",
        Allocation::LimitWrite => "by lowering the limit below what was in use",
        Allocation::OtherKernel => "for other kernel memory",
    }
}

/// Why anybody had to die.
pub(crate) fn cause(scope: Option<Scope>) -> &'static str {
    match scope {
        Some(Scope::Memcg) => "a memory cgroup reached its limit",
        Some(Scope::System) => "the whole machine was out of memory",
        Some(Scope::Cpuset) => "the memory nodes of a cpuset were full",
        Some(Scope::Mempolicy) => "the memory nodes of a memory policy were full",
        Some(Scope::Sysrq) => "somebody asked for it with sysrq-f",
        None => "what ran out is unknown",
    }
}

/// Where no cgroup's limit can be named: why not.
pub(crate) fn no_limit(scope: Option<Scope>) -> &'static str {
    match scope {
        Some(Scope::Memcg) => "of a memory cgroup, but no source could tell which",
        Some(Scope::System) => "no cgroup's: the whole machine",
        Some(Scope::Cpuset) => "no cgroup's: the nodes that a cpuset allows",
        Some(Scope::Mempolicy) => "no cgroup's: the nodes that a memory policy allows",
        Some(Scope::Sysrq) => "none was hit: sysrq-f asks for a kill at any time",
        None => "unknown: no source could tell what ran out",
    }
}

/// How the limit is known.
pub(crate) fn known_from(source: LimitSource) -> &'static str {
    match source {
        LimitSource::OomControl => "read from the kernel's decision",
        LimitSource::Kmsg => "named by the kernel log",
        LimitSource::Inferred => "inferred: this level stood at its limit",
    }
}

/// Where the cgroup of a limit stands, seen from the victim's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Own,
    /// So many levels above the victim's.
    Above(usize),
    /// Neither the victim's own nor above it.
    Elsewhere,
    Unknown,
}

impl Level {
    /// Compares paths; ids only where a path is missing.
    pub(crate) fn of(limit: &Limit, victim: Option<&crate::event::Cgroup>) -> Self {
        let Some(victim) = victim else {
            return Self::Unknown;
        };
        if let (Some(limit), Some(victim)) = (&limit.cgroup.path, &victim.path) {
            let (limit, victim) = (limit.trim_end_matches('/'), victim.trim_end_matches('/'));
            return match victim.strip_prefix(limit) {
                Some("") => Self::Own,
                Some(below) if below.starts_with('/') => Self::Above(below.matches('/').count()),
                _ => Self::Elsewhere,
            };
        }
        if limit.cgroup.id.is_some() && limit.cgroup.id == victim.id {
            return Self::Own;
        }
        Self::Unknown
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::Own => "the victim's own cgroup".to_owned(),
            Self::Above(1) => "the parent of the victim's cgroup".to_owned(),
            Self::Above(levels) => {
                format!("an ancestor of the victim's cgroup, {levels} levels up")
            }
            Self::Elsewhere => "neither the victim's cgroup nor one above it".to_owned(),
            Self::Unknown => "whether it is the victim's own is unknown".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Cgroup;

    #[test]
    fn a_level_is_told_by_whole_path_components() {
        let cgroup = |path: &str| Cgroup {
            path: Some(path.to_owned()),
            id: None,
            version: None,
        };
        let level = |limit: &str, victim: &str| {
            let limit = Limit {
                cgroup: cgroup(limit),
                level: None,
                limit_bytes: None,
                usage_bytes: None,
                failcnt: None,
                source: LimitSource::Kmsg,
            };
            Level::of(&limit, Some(&cgroup(victim)))
        };
        assert_eq!(level("/a/b", "/a/b"), Level::Own);
        assert_eq!(level("/", "/"), Level::Own);
        assert_eq!(level("/a", "/a/b"), Level::Above(1));
        assert_eq!(level("/", "/a/b/c"), Level::Above(3));
        assert_eq!(level("/a", "/ab"), Level::Elsewhere);
        assert_eq!(level("/a/b", "/a"), Level::Elsewhere);
    }
}
