//! Bringing the programs into the kernel: as much as it allows, found by trying.
//!
//! Reads the kernel's BTF; emits [`Programs`]: attached, with their ring, and the [`Tier`] with the
//! reasons why it is not a better one. Refuses offsets that the self-check disproves.

use std::sync::{Arc, Mutex};

use aya::{Ebpf, EbpfLoader, programs::TracePoint};
use oom_common::Layout;

use super::{
    cgroups::CgroupPrograms,
    decision::{self, WantedHook},
    ends::EndPrograms,
    format, generation,
    kernel_types::KernelTypes,
    link::{self, Hold},
    object::{btf_tracepoint, load_tracepoint, object},
    pins::PinName,
    ring_map::RingMap,
    self_check,
};
pub use super::{
    generation::Resume, heap::release_memory, kernel_types::KERNEL_BTF, object::OBJECT,
    refusal::LoadError, tier::Tier,
};

const SELF_CHECK_TRACEPOINT: &str = "oom_score_adj_update";

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
