//! Where evidence of BPF stood in its ring: told with it, so that whoever makes it durable can say what may be let go of.

/// Where a record of the ring was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPlace {
    /// Bytes that have gone through the ring up to its end: what may be released once this is durable.
    pub end: u64,
    /// Its number among all records of this generation of programs.
    pub seq: u64,
}

impl RingPlace {
    /// Places of one ring are below this, those of the next above: no ring passes so many bytes.
    pub const SPAN: u64 = 1 << 48;

    /// Which ring it is in, of those that one process reads, in its order.
    #[must_use]
    pub const fn ring(&self) -> u64 {
        self.end / Self::SPAN
    }
}
