//! Reading kernel memory at offsets that user space found in the running kernel's BTF.
//!
//! Two ways. [`field`] is a plain load: in BTF-typed programs the verifier knows the pointer's type
//! and allows it, also under `lockdown=confidentiality`. [`probe`] copies from any address and works
//! only where the helper is allowed. Offsets are frozen constants for the verifier, so a branch on an
//! absent field is pruned before it is checked.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use oom_common::{ABSENT, Layout, stat};

use crate::ring;

/// Filled in by user space before the object is loaded.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// One word of [`Layout`], by field name.
macro_rules! layout {
    ($field:ident) => {
        $crate::read::word(core::mem::offset_of!(oom_common::Layout, $field))
    };
}
pub(crate) use layout;

#[inline(always)]
pub(crate) fn word(offset: usize) -> u32 {
    // SAFETY: `offset` is that of a `u32` field of the static (see the `layout!` macro). Volatile,
    // because user space replaces the value that the compiler sees.
    unsafe { ptr::read_volatile((&raw const LAYOUT).byte_add(offset).cast::<u32>()) }
}

/// Loads a field through a pointer whose type the verifier knows.
///
/// # Safety
/// `base` must point to the structure that `offset` belongs to; the verifier checks it.
#[inline(always)]
pub(crate) unsafe fn field<T: Copy>(base: *const u8, offset: u32) -> Option<T> {
    if offset == ABSENT || base.is_null() {
        return None;
    }
    // SAFETY: the caller's promise, which the verifier proves for every load.
    Some(unsafe { ptr::read_volatile(base.byte_add(offset as usize).cast::<T>()) })
}

/// [`field`] of a pointer type; null counts as absent.
///
/// # Safety
/// As for [`field`].
#[inline(always)]
pub(crate) unsafe fn pointer(base: *const u8, offset: u32) -> Option<*const u8> {
    // SAFETY: the caller's promise.
    let pointer: *const u8 = unsafe { field(base, offset) }?;
    if pointer.is_null() {
        None
    } else {
        Some(pointer)
    }
}

/// Copies a value from any kernel address; a failed read is counted.
#[inline(always)]
pub(crate) fn probe<T: Copy + Default>(base: *const u8, offset: u32) -> Option<T> {
    if layout!(probe_read) == 0 || offset == ABSENT || base.is_null() {
        return None;
    }
    let mut value = T::default();
    // SAFETY: the destination is a local of the right size; the helper checks the source.
    let failed = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            base.wrapping_byte_add(offset as usize).cast(),
        )
    };
    if failed == 0 {
        Some(value)
    } else {
        ring::count(stat::READ_FAILED);
        None
    }
}

/// [`probe`] of a pointer; null counts as absent.
#[inline(always)]
pub(crate) fn probe_pointer(base: *const u8, offset: u32) -> Option<*const u8> {
    let address: usize = probe(base, offset)?;
    if address == 0 {
        None
    } else {
        Some(ptr::with_exposed_provenance(address))
    }
}
