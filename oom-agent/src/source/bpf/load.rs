//! Bringing the programs into the kernel: as much as it allows, found by trying.
//!
//! Reads the kernel's BTF; emits [`Programs`]: attached, with their ring, and the [`Tier`] with the
//! reasons why it is not a better one. Refuses offsets that the self-check disproves.

use std::{
    fs, io,
    sync::{Arc, Mutex},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Endianness,
    programs::{BtfTracePoint, ProgramError, TracePoint},
};
use oom_common::Layout;
use thiserror::Error;

use super::{
    btf::{Btf, BtfError, Kind},
    cgroups::CgroupPrograms,
    decision::{self, Hook, WantedHook},
    ends::{EndPrograms, SharedLoader},
    format::{self, FormatError},
    generation::{self, GenerationError},
    layout::{self, LayoutError},
    link::{self, Hold},
    pins::PinName,
    ring_map::RingMap,
    self_check::{self, SelfCheckError},
    stand_in::{Target, TargetKind, stand_in},
};

/// The committed object of this architecture: see `bpf/manifest.json` for what it was built from. They
/// differ in the kprobe alone, so other architectures take either and leave that out.
#[cfg(target_arch = "aarch64")]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/oom.aarch64.bpf.o");
/// The committed object of this architecture: see `bpf/manifest.json` for what it was built from. They
/// differ in the kprobe alone, so other architectures take either and leave that out.
#[cfg(not(target_arch = "aarch64"))]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/oom.x86_64.bpf.o");

/// Path of the running kernel's BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const SELF_CHECK_TRACEPOINT: &str = "oom_score_adj_update";

pub use super::generation::Resume;

/// What to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring; rounded up to a power of two of at least a page.
    pub ring_bytes: u32,
    /// Let the kernel side write debug lines for aya-log.
    pub debug_log: bool,
    /// Use the classic tracepoint even where a better one is there.
    pub by_format: bool,
    /// How to hook the decision.
    pub hook: WantedHook,
    /// What records carry as their version: [`oom_common::WIRE_VERSION`], but in tests.
    pub wire_version: u16,
    /// The last record that is durable, where programs of a predecessor are taken over.
    pub resume: Option<Resume>,
}

/// How much the running kernel allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The mark with its task, and the decision with its `oom_control`.
    Full(Hook),
    /// The mark with its task; the decision from the kernel stack.
    Stack,
    /// The mark with only a pid, from a BTF tracepoint; the decision if it can be hooked.
    Pid(Option<Hook>),
    /// The classic tracepoint, by its `format`.
    Format,
}

impl Tier {
    /// By what the mark carries and how the decision is hooked, where BTF tells both.
    pub(super) fn of(mark_has_task: bool, hook: Option<Hook>) -> Self {
        match hook {
            _ if !mark_has_task => Self::Pid(hook),
            Some(hook) => Self::Full(hook),
            None => Self::Stack,
        }
    }

    /// In a few words, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Full(Hook::Fentry) => "bpf, full (mark_victim + oom_kill_process)",
            Self::Full(Hook::Kprobe) => "bpf, full (mark_victim + oom_kill_process by kprobe)",
            Self::Stack => "bpf + stack (mark_victim, decision from the kernel stack)",
            Self::Pid(Some(Hook::Fentry)) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from the decision or /proc)"
            }
            Self::Pid(Some(Hook::Kprobe)) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from the decision by kprobe or /proc)"
            }
            Self::Pid(None) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from /proc)"
            }
            Self::Format => "bpf by format (classic tracepoint)",
        }
    }
}

/// Programs attached, ring open.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Programs {
    /// Owns programs and maps, and the links that [`Self::holds`] does not; dropping it detaches those.
    pub(super) ebpf: Ebpf,
    /// What holds the mark and, where it is hooked, the decision.
    pub(super) holds: Vec<(PinName, Hold)>,
    /// The ring.
    pub(super) ring: RingMap,
    /// Number of the last record that has been taken from the ring already.
    pub(super) last_seq: u64,
    pub(super) wire_version: u16,
    /// What was reached.
    pub tier: Tier,
    /// Why not more, one line each.
    pub notes: Vec<String>,
    /// What it takes to watch cgroups in the kernel, where it allows that.
    pub cgroups: Option<CgroupPrograms>,
    /// What it takes to see victims end in the kernel, where it allows that.
    pub ends: Option<EndPrograms>,
}

/// Why no BPF program could be brought into the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not allowed to use BPF.
    #[error("BPF is not permitted: it needs CAP_BPF and CAP_PERFMON, or root (bpf(2) said EPERM)")]
    NotPermitted(#[source] Box<EbpfError>),
    /// The object did not load.
    #[error("the kernel refused the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program did not load or attach.
    #[error("the kernel refused program {program}: {}", first_line(.error))]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        error: Box<ProgramError>,
    },
    /// The object lacks a program: a fault of ours.
    #[error("the BPF object has no program {0}")]
    Lacks(&'static str),
    /// A map is not there or not what it should be.
    #[error(transparent)]
    Maps(#[from] GenerationError),
    /// No BTF.
    #[error("cannot read {KERNEL_BTF} (CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] io::Error),
    /// The kernel's BTF cannot be parsed.
    #[error("cannot understand {KERNEL_BTF}")]
    Btf(#[from] BtfError),
    /// The kernel's BTF lacks what is needed.
    #[error("{KERNEL_BTF} lacks needed types")]
    Layout(#[from] LayoutError),
    /// The stand-in BTF did not parse: a fault of ours.
    #[error("stand-in BTF refused")]
    StandIn(#[source] Box<aya::BtfError>),
    /// What the program read of the agent itself is not what the agent knows of itself.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
    /// The classic tracepoint is out of reach.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What the kernel said, on one line. The verifier's whole log goes to the debug log: its complaint is
/// the last line that is no statistics.
pub(super) fn first_line(error: &ProgramError) -> String {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "stack depth",
        "verification time",
        "max_states",
    ];
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            tracing::debug!("verifier: {log}");
            let complaint = log.lines().rev().find(|line| {
                !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word))
            });
            match complaint {
                Some(complaint) => format!("{io_error}: {complaint}"),
                None => io_error.to_string(),
            }
        }
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => crate::error::chain(other),
    }
}

/// Loads and attaches the best that the kernel allows.
pub fn load(options: &Options) -> Result<Programs, LoadError> {
    if options.by_format {
        return by_format(options);
    }
    match with_btf(options) {
        Ok(loaded) => Ok(loaded),
        Err(error @ LoadError::NotPermitted(_)) => Err(error),
        Err(first) => match by_format(options) {
            Ok(mut loaded) => {
                loaded.notes.insert(
                    0,
                    format!("no BTF tracepoint: {}", crate::error::chain(&first)),
                );
                Ok(loaded)
            }
            Err(_) => Err(first),
        },
    }
}

/// What of the running kernel's BTF is needed; the rest of it is not kept.
struct KernelTypes {
    layout: Layout,
    has_task: bool,
    stand_in: aya::Btf,
    can_self_check: bool,
    has_decision: bool,
    cgroup_tracepoints: [Option<u32>; 3],
    end_tracepoints: [Option<u32>; 4],
    notes: Vec<String>,
}

impl KernelTypes {
    fn read() -> Result<Self, LoadError> {
        let bytes = fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&bytes)?;
        let found = layout::layout(&btf)?;
        let check_id = btf
            .ids(Kind::Typedef, "btf_trace_oom_score_adj_update")
            .next();
        let targets: Vec<Target<'_>> = [
            found
                .mark_id
                .map(|id| ("btf_trace_mark_victim", TargetKind::Typedef, id)),
            check_id.map(|id| ("btf_trace_oom_score_adj_update", TargetKind::Typedef, id)),
            found
                .oom_kill_process
                .map(|id| ("oom_kill_process", TargetKind::Func, id)),
        ]
        .into_iter()
        .flatten()
        .map(|(name, kind, id)| Target { name, kind, id })
        .collect();
        let stand_in = parsed_stand_in(&targets)?;
        Ok(Self {
            has_task: found.mark == layout::MarkPrototype::Task,
            layout: found.layout,
            stand_in,
            can_self_check: check_id.is_some(),
            has_decision: found.oom_kill_process.is_some(),
            cgroup_tracepoints: found.cgroup_tracepoints,
            end_tracepoints: found.end_tracepoints,
            notes: found
                .missing
                .iter()
                .map(|missing| {
                    format!(
                        "{} is not in this kernel: no {}",
                        missing.name, missing.lost
                    )
                })
                .collect(),
        })
    }
}

/// What aya takes for the kernel's BTF.
pub(super) fn parsed_stand_in(targets: &[Target<'_>]) -> Result<aya::Btf, LoadError> {
    aya::Btf::parse(&stand_in(targets), Endianness::default())
        .map_err(|error| LoadError::StandIn(Box::new(error)))
}

fn with_btf(options: &Options) -> Result<Programs, LoadError> {
    let mut kernel = KernelTypes::read()?;
    let mut layout = kernel.layout;
    layout.self_tgid = std::process::id();
    layout.wire_version = options.wire_version.into();
    layout.debug_log = u32::from(options.debug_log);
    layout.probe_read = 1;
    let (mut ebpf, again, mut notes) = match object_with_mark(&layout, options, &kernel.stand_in) {
        Ok((ebpf, again)) => (ebpf, again, Vec::new()),
        Err(error @ LoadError::NotPermitted(_)) => return Err(error),
        Err(first) => {
            layout.probe_read = 0;
            let (ebpf, again) =
                object_with_mark(&layout, options, &kernel.stand_in).map_err(|_| first)?;
            let note = "the kernel is locked down (confidentiality): no counters of cgroup levels; \
                        names are looked up by id";
            (ebpf, again, vec![note.to_owned()])
        }
    };
    notes.append(&mut kernel.notes);
    let mut ring = generation::ring(ebpf.map("RING"))?;
    let mut last_seq = 0;
    if kernel.can_self_check {
        let program = btf_tracepoint(&mut ebpf, "self_check")?;
        load_tracepoint(
            program,
            "self_check",
            SELF_CHECK_TRACEPOINT,
            &kernel.stand_in,
        )?;
        let refused = |error| LoadError::Program {
            program: "self_check",
            error: Box::new(error),
        };
        let link = program.attach().map_err(refused)?;
        let outcome = self_check::run(&mut ring, options.wire_version, layout.probe_read == 1);
        btf_tracepoint(&mut ebpf, "self_check")?
            .detach(link)
            .map_err(refused)?;
        last_seq = outcome?;
    } else {
        notes.push("no tracepoint to check the field offsets with".to_owned());
    }
    let mark = btf_tracepoint(&mut ebpf, "mark_victim")?;
    let mark = link::tracepoint(mark).map_err(|error| LoadError::Program {
        program: "mark_victim",
        error: Box::new(error),
    })?;
    let name = if kernel.has_task {
        PinName::MarkTask
    } else {
        PinName::MarkPid
    };
    let mut holds = vec![(name, mark)];
    let mut hook = None;
    if kernel.has_decision {
        let allowed = decision::Allowed {
            wanted: options.hook,
            probe_reads: layout.probe_read == 1,
        };
        let (hooked, note) = decision::attach(&mut ebpf, &kernel.stand_in, allowed);
        notes.extend(note);
        if let Some((by, hold)) = hooked {
            hook = Some(by);
            holds.push((by.into(), hold));
        }
    }
    let again = Arc::new(Mutex::new(again));
    Ok(Programs {
        ebpf,
        holds,
        ring,
        last_seq,
        wire_version: options.wire_version,
        tier: Tier::of(kernel.has_task, hook),
        notes,
        cgroups: CgroupPrograms::new(again.clone(), layout, kernel.cgroup_tracepoints),
        ends: EndPrograms::new(again, layout, kernel.end_tracepoints),
    })
}

/// What it takes to watch cgroups, where nothing else is loaded.
pub(super) fn cgroup_programs() -> Result<Option<CgroupPrograms>, LoadError> {
    let (kernel, layout, loader) = alone()?;
    let tracepoints = kernel.cgroup_tracepoints;
    Ok(CgroupPrograms::new(loader, layout, tracepoints))
}

/// What it takes to see victims end, where nothing else is loaded.
pub(super) fn end_programs() -> Result<Option<EndPrograms>, LoadError> {
    let (kernel, layout, loader) = alone()?;
    let tracepoints = kernel.end_tracepoints;
    Ok(EndPrograms::new(loader, layout, tracepoints))
}

fn alone() -> Result<(KernelTypes, Layout, SharedLoader), LoadError> {
    let kernel = KernelTypes::read()?;
    let mut layout = kernel.layout;
    layout.self_tgid = std::process::id();
    layout.wire_version = oom_common::WIRE_VERSION.into();
    layout.debug_log = 0;
    layout.probe_read = 1;
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Ok((kernel, layout, Arc::new(Mutex::new(loader))))
}

/// The object with these offsets, its `mark_victim` accepted by the verifier but not attached.
fn object_with_mark(
    layout: &Layout,
    options: &Options,
    stand_in: &aya::Btf,
) -> Result<(Ebpf, EbpfLoader<'static>), LoadError> {
    let (mut ebpf, loader) = object(layout, options)?;
    let program = btf_tracepoint(&mut ebpf, "mark_victim")?;
    load_tracepoint(program, "mark_victim", "mark_victim", stand_in)?;
    Ok((ebpf, loader))
}

fn by_format(options: &Options) -> Result<Programs, LoadError> {
    let mut layout = Layout::UNKNOWN;
    layout.mark_has_task = 0;
    layout.self_tgid = 0;
    layout.wire_version = options.wire_version.into();
    layout.debug_log = 0;
    layout.probe_read = 1;
    format::read(&mut layout)?;
    let (mut ebpf, _) = object(&layout, options)?;
    let name = "mark_victim_classic";
    let refused = |error| LoadError::Program {
        program: name,
        error: Box::new(error),
    };
    let program: &mut TracePoint = ebpf
        .program_mut(name)
        .ok_or(LoadError::Lacks(name))?
        .try_into()
        .map_err(refused)?;
    program.load().map_err(refused)?;
    let mark = link::classic(program, "oom", "mark_victim").map_err(refused)?;
    let ring = generation::ring(ebpf.map("RING"))?;
    Ok(Programs {
        ebpf,
        holds: vec![(PinName::MarkFormat, mark)],
        ring,
        last_seq: 0,
        wire_version: options.wire_version,
        tier: Tier::Format,
        notes: Vec::new(),
        cgroups: None,
        ends: None,
    })
}

/// The object, and its loader to load it once more: making one parses the kernel's whole BTF.
fn object(layout: &Layout, options: &Options) -> Result<(Ebpf, EbpfLoader<'static>), LoadError> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .map_max_entries("RING", ring_bytes(options.ring_bytes))
        // The watch of cgroups and that of victims load the object for themselves.
        .map_max_entries("CGROUPS", page)
        .map_max_entries("ENDS", page)
        .override_global("LAYOUT", kept(layout), true);
    if !options.debug_log {
        loader.map_max_entries("AYA_LOGS", page);
    }
    match loader.load(OBJECT) {
        Ok(ebpf) => Ok((ebpf, loader)),
        Err(error) if is_eperm(&error) => Err(LoadError::NotPermitted(Box::new(error))),
        Err(error) => Err(LoadError::Object(Box::new(error))),
    }
}

/// The kernel wants a power of two of at least a page.
pub(super) fn ring_bytes(wanted: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    wanted.max(page).next_power_of_two()
}

/// A loader borrows what it writes into the object. It outlives this function, so a few hundred bytes
/// stay, two or three times in a life.
pub(super) fn kept(layout: &Layout) -> &'static [u32] {
    Box::leak(Box::new(layout.words()))
}

fn is_eperm(error: &EbpfError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn btf_tracepoint<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut BtfTracePoint, LoadError> {
    ebpf.program_mut(name)
        .ok_or(LoadError::Lacks(name))?
        .try_into()
        .map_err(|error| LoadError::Program {
            program: name,
            error: Box::new(error),
        })
}

pub(super) fn load_tracepoint(
    program: &mut BtfTracePoint,
    name: &'static str,
    tracepoint: &str,
    stand_in: &aya::Btf,
) -> Result<(), LoadError> {
    program
        .load(tracepoint, stand_in)
        .map_err(|error| LoadError::Program {
            program: name,
            error: Box::new(error),
        })
}

/// Gives back what loading needed for a moment: the kernel's BTF is several times the agent's size.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "the C library's allocator has no safe interface"
    )
)]
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes the allocator's own locks and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From here on what is big is mapped by itself, and goes back the moment it is freed: once memory is
/// locked, [`release_memory`] can give back nothing.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "the C library's allocator has no safe interface"
    )
)]
pub(super) fn map_what_is_big() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` changes a number that the allocator compares sizes with.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}
