//! The kernel's own count of OOM kills, against which everything else is proved.
//!
//! Reads `oom_kill` from `/proc/vmstat` (4.13 and later); emits [`Evidence::Counter`]. Refuses nothing:
//! a kernel without the counter has no audit, and that is said.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::{clock::Now, evidence::Evidence};

/// Path of the counter.
pub const VMSTAT: &str = "/proc/vmstat";

/// `/proc/vmstat`, kept open: at the moment when it is needed the node may have nothing left.
#[derive(Debug)]
pub struct OomKillCounter {
    file: File,
    buffer: Vec<u8>,
}

impl OomKillCounter {
    /// Opens the counter; an error if the file cannot be read or has no such line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut counter = Self {
            file: File::open(path)?,
            buffer: vec![0; 16 * 1024],
        };
        counter.value()?;
        Ok(counter)
    }

    /// Kills since boot.
    pub fn value(&mut self) -> io::Result<u64> {
        let mut len = 0;
        loop {
            if len == self.buffer.len() {
                self.buffer.resize(len * 2, 0);
            }
            let read = self.file.read_at(&mut self.buffer[len..], len as u64)?;
            if read == 0 {
                break;
            }
            len += read;
        }
        parse(&self.buffer[..len]).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "no oom_kill in /proc/vmstat (kernel < 4.13)",
            )
        })
    }

    /// The same as evidence.
    pub fn evidence(&mut self) -> io::Result<Evidence> {
        // Before the reading: what was marked until then is in it, for the kernel counts first.
        let read_ns = Now::read().monotonic_ns;
        Ok(Evidence::Counter {
            oom_kill: self.value()?,
            read_ns,
        })
    }
}

fn parse(vmstat: &[u8]) -> Option<u64> {
    vmstat
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"oom_kill "))
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_by_its_whole_name() {
        assert_eq!(
            parse(b"nr_free_pages 12\noom_kill 42\nnuma_hit 7\n"),
            Some(42)
        );
        assert_eq!(parse(b"my_oom_kill 3\noom_kill_x 4\n"), None);
        assert_eq!(parse(b""), None);
    }
}
