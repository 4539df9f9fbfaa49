//! A BPF ring buffer, read ahead of what is given back to the kernel.
//!
//! Reads the pages that the kernel shares (`ringbuf_map_mmap_kern` in kernel/bpf/ringbuf.c): the
//! consumer's position, the producer's, and the data, mapped once and not twice in a row, for mapped pages
//! count as resident. Emits records as bytes, in the order of the ring. What was taken stays in the ring
//! until [`Release`] lets go of it, so whoever comes after a crash takes it again. Refuses to pass a record
//! that is not committed, and to release what has not been taken.
//!
//! The programs wake the readers with every record (`BPF_RB_FORCE_WAKEUP`), whatever the consumer's
//! position: an edge-triggered epoll needs no more, however much is held back.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::{
    ffi::c_void,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `BPF_RINGBUF_HDR_SZ`: length and flags, and a word that is the kernel's own.
const HEADER: u64 = 8;

/// `BPF_RINGBUF_BUSY_BIT`: still being written.
const BUSY: u32 = 1 << 31;

/// `BPF_RINGBUF_DISCARD_BIT`: to be passed over.
const DISCARDED: u32 = 1 << 30;

// The kernel's positions are `unsigned long`.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// The reader. Positions are bytes that have gone through the ring since it was made.
#[derive(Debug)]
pub struct RingMap {
    fd: OwnedFd,
    /// The producer's page, and behind it the data.
    pages: Mapping,
    consumer: Arc<Consumer>,
    /// Bytes of data, a power of two.
    capacity: u64,
    /// Where the next record begins.
    at: u64,
    /// The producer's position as last read.
    produced: u64,
    /// The last record.
    record: Vec<u8>,
}

/// Lets go of records, on any thread.
#[derive(Clone, Debug)]
pub struct Release(Arc<Consumer>);

/// The consumer's page, and how far the reader has come.
#[derive(Debug)]
struct Consumer {
    page: Mapping,
    taken: AtomicU64,
}

impl RingMap {
    /// Maps the ring behind `fd`, which has `capacity` bytes for data, and begins where the kernel believes
    /// the consumer to be.
    pub fn new(fd: OwnedFd, capacity: u32) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let capacity = u64::from(capacity);
        if !capacity.is_power_of_two() || !capacity.is_multiple_of(page as u64) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let write = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Consumer {
            page: Mapping::new(fd.as_fd(), 0, page, write)?,
            taken: AtomicU64::new(0),
        };
        let len = page + usize::try_from(capacity).map_err(io::Error::other)?;
        let pages = Mapping::new(fd.as_fd(), page as u64, len, ProtFlags::READ)?;
        // In this order: the producer is never behind a consumer that was read before.
        let at = consumer.position().load(Ordering::Acquire);
        let produced = pages.u64(0).load(Ordering::Acquire);
        // Positions that the kernel cannot have made: what is in the ring cannot be told apart.
        let at = if produced.wrapping_sub(at) > capacity {
            produced
        } else {
            at
        };
        consumer.taken.store(at, Ordering::Release);
        Ok(Self {
            fd,
            pages,
            consumer: Arc::new(consumer),
            capacity,
            at,
            produced,
            record: Vec::with_capacity(size_of::<oom_common::Record>()),
        })
    }

    /// The next record, if there is one that is committed. Its bytes are a copy.
    pub fn take(&mut self) -> Option<&[u8]> {
        loop {
            if self.at == self.produced {
                // With the headers that the kernel wrote before it moved on.
                self.produced = self.pages.u64(0).load(Ordering::Acquire);
                if self.at == self.produced {
                    return None;
                }
            }
            // With the bytes that the kernel wrote before it committed.
            let header = self.pages.u32(self.offset(self.at)).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let len = u64::from(header & !(BUSY | DISCARDED));
            let next = self.at + (HEADER + len).next_multiple_of(HEADER);
            if next.wrapping_sub(self.at) > self.produced.wrapping_sub(self.at) {
                // No record that the kernel has made. The gap in the numbers tells what is lost.
                self.advance(self.produced);
                continue;
            }
            if header & DISCARDED == 0 {
                self.copy(self.at + HEADER, len);
                self.advance(next);
                return Some(&self.record);
            }
            self.advance(next);
        }
    }

    /// The next record, without taking it. Only before anybody can let go of it.
    pub(super) fn peek(&mut self) -> Option<&[u8]> {
        let at = self.at;
        self.take()?;
        self.advance(at);
        Some(&self.record)
    }

    /// The position behind the last record taken.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.at
    }

    /// What lets go of records.
    #[must_use]
    pub fn release(&self) -> Release {
        Release(self.consumer.clone())
    }

    /// The position behind the last record that the kernel has begun to write.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.pages.u64(0).load(Ordering::Acquire)
    }

    /// Bytes that nobody has let go of, taken or not.
    #[must_use]
    pub fn used(&self) -> u64 {
        let consumer = self.consumer.position().load(Ordering::Acquire);
        self.written().saturating_sub(consumer)
    }

    /// Bytes that it has room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    fn advance(&mut self, to: u64) {
        self.at = to;
        // The copy is done before anybody can let go of the original.
        self.consumer.taken.store(to, Ordering::Release);
    }

    /// Where a position is in [`Self::pages`].
    fn offset(&self, position: u64) -> usize {
        let within = position & (self.capacity - 1);
        // Fits: a mapping of that length exists.
        rustix::param::page_size() + usize::try_from(within).unwrap_or(0)
    }

    /// Takes a copy of `len` bytes, which may go on at the start of the data.
    fn copy(&mut self, position: u64, len: u64) {
        let start = self.offset(position);
        let len = usize::try_from(len).unwrap_or(0);
        let first = len.min(self.pages.len - start);
        self.record.clear();
        self.pages.append(start, first, &mut self.record);
        let start = rustix::param::page_size();
        self.pages.append(start, len - first, &mut self.record);
    }
}

impl AsFd for RingMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Release {
    /// Lets go of everything up to this position ([`RingMap::end`]), but not of what has not been taken. Never
    /// goes back.
    pub fn release(&self, end: u64) {
        let taken = self.0.taken.load(Ordering::Acquire);
        let position = self.0.position();
        position.fetch_max(end.min(taken), Ordering::AcqRel);
    }
}

impl Consumer {
    fn position(&self) -> &AtomicU64 {
        self.page.u64(0)
    }
}

/// Mapped pages, given back when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the pages belong to no thread; everything in them is read and written by atomics, or copied while
// the kernel does not write it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The address of an item. Panics outside the mapping, which a masked offset cannot be.
    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len);
        self.start.as_ptr().wrapping_byte_add(offset).cast()
    }

    fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: within the mapping and aligned (see `at`); it lives as long as `self`, and everybody
        // treats this word as an atomic one.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as for `u64`.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    /// Appends a copy of so many bytes, which nobody writes meanwhile.
    fn append(&self, offset: usize, len: usize, to: &mut Vec<u8>) {
        if len == 0 {
            return;
        }
        let last: *mut u8 = self.at(offset + len - 1);
        let first = last.wrapping_byte_sub(len - 1);
        // SAFETY: within the mapping, as its last byte and `offset` are. The kernel writes no record that
        // it has committed, until it is let go of, and that is after the copy.
        to.extend_from_slice(unsafe { std::slice::from_raw_parts(first, len) });
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every borrow of it has ended.
        if let Err(error) = unsafe { munmap(self.start.as_ptr(), self.len) } {
            tracing::error!("munmap: {error}");
        }
    }
}

#[cfg(test)]
#[path = "ring_map_tests.rs"]
mod tests;
