//! The reader against a ring that the test writes: a memory file is laid out like the kernel's pages.

use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt as _};

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

const CAPACITY: u64 = 4096;

/// The kernel's part: positions, headers, bytes.
struct Producer {
    file: File,
    at: u64,
    page: u64,
}

impl Producer {
    fn new() -> Self {
        let fd = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        let page = rustix::param::page_size() as u64;
        ftruncate(&fd, 2 * page + CAPACITY).unwrap();
        let file = File::from(fd);
        Self { file, at: 0, page }
    }

    fn reader(&self) -> RingMap {
        let fd = self.file.try_clone().unwrap().into();
        RingMap::new(fd, u32::try_from(CAPACITY).unwrap()).unwrap()
    }

    fn consumer(&self) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, 0).unwrap();
        u64::from_ne_bytes(word)
    }

    fn set_consumer(&self, at: u64) {
        self.file.write_all_at(&at.to_ne_bytes(), 0).unwrap();
    }

    fn set_producer(&mut self, at: u64) {
        self.at = at;
        let word = at.to_ne_bytes();
        self.file.write_all_at(&word, self.page).unwrap();
    }

    fn put(&self, position: u64, bytes: &[u8]) {
        let within = position % CAPACITY;
        let room = usize::try_from(CAPACITY - within).unwrap();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        let data = 2 * self.page;
        self.file.write_all_at(first, data + within).unwrap();
        self.file.write_all_at(rest, data).unwrap();
    }

    fn header(&self, position: u64, len: usize, flags: u32) {
        let word = u32::try_from(len).unwrap() | flags;
        self.put(position, &word.to_ne_bytes());
    }

    /// A record, unless there is no room: `__bpf_ringbuf_reserve`.
    fn write(&mut self, bytes: &[u8], flags: u32) -> bool {
        let next = self.at + (HEADER + bytes.len() as u64).next_multiple_of(8);
        if next - self.consumer() > CAPACITY - 1 {
            return false;
        }
        self.header(self.at, bytes.len(), flags);
        self.put(self.at + HEADER, bytes);
        self.set_producer(next);
        true
    }
}

#[test]
fn what_was_taken_stays_until_it_is_let_go() {
    let mut kernel = Producer::new();
    let mut ring = kernel.reader();
    assert_eq!(ring.take(), None);
    kernel.write(b"one", 0);
    kernel.write(b"two", 0);
    assert_eq!(ring.take(), Some(&b"one"[..]));
    let first = ring.end();
    assert_eq!(ring.take(), Some(&b"two"[..]));
    assert_eq!(ring.take(), None);
    assert_eq!(ring.used(), 32);
    assert_eq!(kernel.consumer(), 0);

    let release = ring.release();
    release.release(first);
    assert_eq!((kernel.consumer(), ring.used()), (16, 16));
    // The next process sees what was not let go of.
    assert_eq!(kernel.reader().take(), Some(&b"two"[..]));
    // Never back, and never past what was taken.
    release.release(0);
    assert_eq!(kernel.consumer(), 16);
    kernel.write(b"three", 0);
    release.release(u64::MAX);
    assert_eq!(kernel.consumer(), 32);
    drop(ring);
    release.release(u64::MAX);
    assert_eq!(kernel.consumer(), 32);
}

#[test]
fn a_record_that_is_being_written_is_waited_for_and_a_discarded_one_passed_over() {
    let mut kernel = Producer::new();
    let mut ring = kernel.reader();
    kernel.write(b"gone", DISCARDED);
    kernel.write(b"slow", BUSY);
    kernel.write(b"fast", 0);
    assert_eq!(ring.take(), None);
    kernel.header(16, 4, 0);
    assert_eq!(ring.take(), Some(&b"slow"[..]));
    assert_eq!(ring.take(), Some(&b"fast"[..]));
    assert_eq!(ring.take(), None);
}

#[test]
fn nonsense_is_passed_over() {
    let mut kernel = Producer::new();
    let mut ring = kernel.reader();
    kernel.header(0, 1 << 20, 0);
    kernel.set_producer(64);
    assert_eq!(ring.take(), None);
    assert_eq!(ring.end(), 64);
    kernel.write(b"good", 0);
    assert_eq!(ring.take(), Some(&b"good"[..]));
    for consumer in [kernel.at + 8, u64::MAX, 0] {
        kernel.set_producer(3 * CAPACITY);
        kernel.set_consumer(consumer);
        let mut ring = kernel.reader();
        assert_eq!(ring.take(), None);
        assert_eq!(ring.end(), 3 * CAPACITY);
    }
}

#[test]
fn only_what_can_be_a_ring_is_mapped() {
    for capacity in [0, 1, 4095, 3 * 4096] {
        let fd = Producer::new().file.into();
        assert!(RingMap::new(fd, capacity).is_err(), "{capacity}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>, bool),
    Take,
    Release(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..900), any::<bool>())
            .prop_map(|(bytes, discarded)| Step::Write(bytes, discarded)),
        4 => Just(Step::Take),
        2 => (0usize..4).prop_map(Step::Release),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever is written, taken, let go and begun again: every record in order, from the last that was
    /// let go.
    #[test]
    fn nothing_is_lost_or_changed(steps in prop::collection::vec(step(), 1..200)) {
        let mut kernel = Producer::new();
        let mut ring = kernel.reader();
        let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
        let mut held: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        for step in steps {
            match step {
                Step::Write(bytes, discarded) => {
                    let flags = if discarded { DISCARDED } else { 0 };
                    if kernel.write(&bytes, flags) && !discarded {
                        waiting.push_back(bytes);
                    }
                }
                Step::Take => {
                    let taken = ring.take().map(<[u8]>::to_vec);
                    prop_assert_eq!(&taken, &waiting.pop_front());
                    held.extend(taken.map(|bytes| (ring.end(), bytes)));
                }
                Step::Release(count) => {
                    for _ in 0..count {
                        if let Some((end, _)) = held.pop_front() {
                            ring.release().release(end);
                        }
                    }
                }
                Step::Restart => {
                    ring = kernel.reader();
                    for (_, bytes) in held.drain(..).rev() {
                        waiting.push_front(bytes);
                    }
                }
            }
            prop_assert_eq!(ring.used(), kernel.at - kernel.consumer());
        }
    }
}
