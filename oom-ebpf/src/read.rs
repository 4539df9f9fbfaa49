//! Reading kernel memory at offsets that user space found in the running kernel's BTF.
//!
//! Two ways. [`field`] is a plain load: in BTF-typed programs the verifier knows the pointer's type
//! and allows it, also under `lockdown=confidentiality`. [`Probe`] copies from any address and works
//! only where the helper is allowed. Offsets are frozen constants for the verifier, so a branch on an
//! absent field is pruned before it is checked.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use oom_common::{ABSENT, Layout, NAME_LEN, stat};

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

/// Reads from any kernel address. A failed read gives zero and is counted, without a branch: a
/// branch for each read would multiply the paths that the verifier has to walk.
pub(crate) struct Probe {
    failed: u64,
}

impl Probe {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { failed: 0 }
    }

    /// Copies the value at `base + offset`; zero where the field is absent or cannot be read.
    #[inline(always)]
    pub(crate) fn get<T: Copy + Default>(&mut self, base: *const u8, offset: u32) -> T {
        let mut value = T::default();
        if layout!(probe_read) == 0 || offset == ABSENT {
            return value;
        }
        // SAFETY: the destination is a local of the right size; the helper checks the source and
        // fills the destination with zeros where it fails.
        let result = unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                base.wrapping_byte_add(offset as usize).cast(),
            )
        };
        self.failed += result.cast_unsigned() >> 63;
        value
    }

    /// [`Self::get`] of a pointer; null where it cannot be read.
    #[inline(always)]
    pub(crate) fn pointer(&mut self, base: *const u8, offset: u32) -> *const u8 {
        ptr::with_exposed_provenance(self.get::<usize>(base, offset))
    }

    /// Copies a string with its NUL to `to`, which has room for [`NAME_LEN`]; gives its length, 0
    /// where it failed.
    ///
    /// # Safety
    /// `to` must point to [`NAME_LEN`] writable bytes; the verifier checks it.
    #[inline(always)]
    pub(crate) unsafe fn name(&mut self, to: *mut u8, from: *const u8) -> usize {
        // SAFETY: the caller's promise; the helper checks the source.
        let copied = unsafe { bpf_probe_read_kernel_str(to.cast(), NAME_LEN as u32, from.cast()) };
        let Ok(len @ 1..=NAME_LEN) = usize::try_from(copied) else {
            self.failed += 1;
            return 0;
        };
        len
    }

    /// Adds the failures to the kernel side's counters.
    #[inline(always)]
    pub(crate) fn finish(self) {
        ring::add(stat::READ_FAILED, self.failed);
    }
}
