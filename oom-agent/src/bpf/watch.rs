//! What the watch of cgroups and that of victims have in common: the object once more, with one ring.
//!
//! Reads the kernel's BTF, unless somebody just has; emits `Loaded`, whose programs attach one by one. None of the
//! maps of the kills has room in it: a watch may come and go, and fail, without them.

use std::sync::{Arc, Mutex, PoisonError};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError},
    programs::tp_btf::BtfTracePointLink,
};
use oom_common::{ABSENT, Layout, WIRE_VERSION};
use thiserror::Error;

use super::{
    heap,
    kernel_types::{KernelTypes, parsed_stand_in},
    object::{OBJECT, SharedLoader, btf_tracepoint, kept, load_tracepoint, ring_bytes},
    refusal::LoadError,
    stand_in::{Target, TargetKind},
};

/// All rings of the object.
const RINGS: [&str; 4] = ["RING", "CGROUPS", "ENDS", "AYA_LOGS"];

/// Why a watch could not be brought into the kernel.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The object did not load.
    #[error("the kernel refused the BPF object of {0}")]
    Object(&'static str, #[source] Box<EbpfError>),
    /// A program did not load or attach.
    #[error(transparent)]
    Program(#[from] LoadError),
    /// A map is not there or not what it should be.
    #[error("map {0} of {1} is unusable")]
    Map(&'static str, &'static str, #[source] Option<Box<MapError>>),
}

/// What it takes to load the object on any thread.
pub(super) struct Prepared<const N: usize> {
    pub(super) loader: SharedLoader,
    pub(super) layout: Layout,
    /// BTF ids of the typedefs behind the tracepoints.
    pub(super) tracepoints: [Option<u32>; N],
}

impl<const N: usize> Prepared<N> {
    /// What was prepared, or, where nothing else is loaded, what this kernel has.
    pub(super) fn or_alone(
        prepared: Option<Self>,
        tracepoints: impl FnOnce(&KernelTypes) -> [Option<u32>; N],
    ) -> Result<Self, WatchError> {
        heap::map_what_is_big();
        if let Some(prepared) = prepared {
            return Ok(prepared);
        }
        let kernel = KernelTypes::read()?;
        let mut layout = kernel.layout;
        layout.self_tgid = std::process::id();
        layout.wire_version = WIRE_VERSION.into();
        layout.debug_log = 0;
        layout.probe_read = 1;
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        Ok(Self {
            loader: Arc::new(Mutex::new(loader)),
            layout,
            tracepoints: tracepoints(&kernel),
        })
    }

    /// Whether programs may read memory, and know these offsets.
    pub(super) fn reads(&self, offsets: &[u32]) -> bool {
        self.layout.probe_read == 1 && !offsets.contains(&ABSENT)
    }

    /// Loads the object for `what`, with room in one ring alone, of so many bytes. `typedefs` name the tracepoints.
    pub(super) fn load(
        &self,
        what: &'static str,
        typedefs: [&str; N],
        (ring, size): (&str, u32),
    ) -> Result<Loaded, WatchError> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        for name in RINGS {
            let size = if name == ring { size } else { 0 };
            loader.map_max_entries(name, ring_bytes(size));
        }
        let ebpf = loader
            .override_global("LAYOUT", kept(&self.layout), true)
            .load(OBJECT)
            .map_err(|error| WatchError::Object(what, Box::new(error)))?;
        drop(loader);
        let targets: Vec<_> = typedefs
            .into_iter()
            .zip(self.tracepoints)
            .filter_map(|(name, id)| {
                let kind = TargetKind::Typedef;
                id.map(|id| Target { name, kind, id })
            })
            .collect();
        Ok(Loaded {
            what,
            ebpf,
            stand_in: parsed_stand_in(&targets)?,
        })
    }
}

/// The object, of which nothing is attached yet.
pub(super) struct Loaded {
    what: &'static str,
    ebpf: Ebpf,
    stand_in: aya::Btf,
}

impl Loaded {
    /// Attaches a program, which is named like its tracepoint. The link alone holds it in the kernel: the object,
    /// with all programs, need not stay.
    pub(super) fn attach(&mut self, name: &'static str) -> Result<BtfTracePointLink, LoadError> {
        let program = btf_tracepoint(&mut self.ebpf, name)?;
        load_tracepoint(program, name, name, &self.stand_in)?;
        let link = program.attach().and_then(|link| program.take_link(link));
        link.map_err(|error| LoadError::Program {
            program: name,
            error: Box::new(error),
        })
    }

    /// Takes out a map.
    pub(super) fn map<M>(&mut self, name: &'static str) -> Result<M, WatchError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let unusable = |error| WatchError::Map(name, self.what, error);
        let map = self.ebpf.take_map(name).ok_or_else(|| unusable(None))?;
        M::try_from(map).map_err(|error| unusable(Some(Box::new(error))))
    }
}
