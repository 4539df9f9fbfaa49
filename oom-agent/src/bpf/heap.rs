//! The C library's heap, around loading: what it took for a moment goes back.
//!
//! Reads nothing; changes how the allocator maps and trims.

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
