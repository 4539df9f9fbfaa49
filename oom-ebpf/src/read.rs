//! Reading kernel memory at offsets that user space found in the running kernel's BTF.
//!
//! [`Reader`] copies with `bpf_probe_read_kernel`. Where that helper is forbidden
//! (`lockdown=confidentiality`) it loads through pointers whose type the verifier knows: always
//! allowed, but the verifier searches the kernel's whole BTF for every such step, which makes loading
//! ten times slower. Offsets are frozen constants for the verifier, so the way that is not taken, and
//! every read of an absent field, is pruned before it is checked.

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

/// Loads a field through a pointer whose type the verifier knows; `None` where it is absent.
///
/// # Safety
/// `base` must point to the structure that `offset` belongs to; the verifier checks it.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> Option<T> {
    if offset == ABSENT || base.is_null() {
        return None;
    }
    // SAFETY: the caller's promise, which the verifier proves for every load.
    Some(unsafe { ptr::read_volatile(base.byte_add(offset as usize).cast::<T>()) })
}

/// Reads kernel structures. A failed read gives zero and is counted, without a branch: a branch for
/// each read would multiply the paths that the verifier has to walk.
pub(crate) struct Reader {
    failed: u64,
}

impl Reader {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { failed: 0 }
    }

    /// The value at `base + offset`; zero where the field is absent or cannot be read.
    ///
    /// # Safety
    /// `base` must be a pointer to the structure that `offset` belongs to, reached from an argument
    /// of the program by this reader alone: then the verifier knows its type.
    #[inline(always)]
    pub(crate) unsafe fn get<T: Copy + Default>(&mut self, base: *const u8, offset: u32) -> T {
        let mut value = T::default();
        if offset == ABSENT {
            return value;
        }
        if layout!(probe_read) != 1 {
            // SAFETY: the caller's promise.
            return unsafe { load(base, offset) }.unwrap_or(value);
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
    ///
    /// # Safety
    /// As for [`Self::get`].
    #[inline(always)]
    pub(crate) unsafe fn pointer(&mut self, base: *const u8, offset: u32) -> *const u8 {
        if layout!(probe_read) != 1 {
            // SAFETY: the caller's promise. Loaded as a pointer, it keeps its type.
            return unsafe { load::<*const u8>(base, offset) }.unwrap_or(ptr::null());
        }
        // SAFETY: the caller's promise.
        ptr::with_exposed_provenance(unsafe { self.get::<usize>(base, offset) })
    }

    /// Copies a string with its NUL to `to`, which has room for [`NAME_LEN`]; gives its length, 0
    /// where it failed. Only where probe reads are allowed.
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

    /// How many reads failed.
    #[inline(always)]
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Adds the failures to the kernel side's counters.
    #[inline(always)]
    pub(crate) fn finish(self) {
        ring::add(stat::READ_FAILED, self.failed);
    }
}
