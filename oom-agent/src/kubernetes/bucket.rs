//! How many requests may be made: some at once, then a few each second.
//!
//! Pure: told what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// At once.
const BURST: u32 = 20;

/// For each request more.
const EACH: Duration = Duration::from_millis(200);

/// The bucket, by the moment when it will be full again.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    full: Option<Instant>,
}

impl Bucket {
    /// Takes what one request needs, or says how long it takes until that is there.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.filter(|full| *full > now).unwrap_or(now);
        let missing = full - now + EACH;
        if let Some(wait) = missing.checked_sub(EACH * BURST)
            && !wait.is_zero()
        {
            return Err(wait);
        }
        self.full = Some(full + EACH);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_so_many_each_second() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        for _ in 0..BURST {
            assert_eq!(bucket.take(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Err(EACH));
        assert_eq!(bucket.take(now + EACH / 2), Err(EACH / 2));
        assert_eq!(bucket.take(now + EACH), Ok(()));
        assert_eq!(bucket.take(now + EACH), Err(EACH));
        let later = now + EACH * BURST * 3;
        let taken = (0..100).take_while(|_| bucket.take(later).is_ok());
        assert_eq!(taken.count(), usize::try_from(BURST).unwrap());
    }
}
