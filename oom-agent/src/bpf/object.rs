//! The committed object, and what of it is loaded: its maps in their sizes, its programs one by one.
//!
//! Reads the bytes that the agent carries, with the offsets of the running kernel put in; emits an [`Ebpf`], whose
//! programs are not attached. Refuses nothing: the kernel does.

use std::sync::{Arc, Mutex};

use aya::{Ebpf, EbpfLoader, programs::BtfTracePoint};
use oom_common::Layout;

use super::{
    load::Options,
    refusal::{LoadError, is_eperm},
};

/// The committed object of this architecture: see `bpf/manifest.json` for what it was built from. They
/// differ in the kprobe alone, so other architectures take either and leave that out.
#[cfg(target_arch = "aarch64")]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/oom.aarch64.bpf.o");
/// The committed object of this architecture: see `bpf/manifest.json` for what it was built from. They
/// differ in the kprobe alone, so other architectures take either and leave that out.
#[cfg(not(target_arch = "aarch64"))]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/oom.x86_64.bpf.o");

/// A loader that several load the object with, one after the other: making one parses the kernel's whole
/// BTF.
pub(super) type SharedLoader = Arc<Mutex<EbpfLoader<'static>>>;

/// The object, and its loader to load it once more: making one parses the kernel's whole BTF.
pub(super) fn object(
    layout: &Layout,
    options: &Options,
) -> Result<(Ebpf, EbpfLoader<'static>), LoadError> {
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
