//! The kernel log, read as simply as possible: an oracle that shares no code with the agent.
//!
//! Reads `/dev/kmsg`; emits the messages that the kernel itself wrote. Refuses records of user space.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use rustix::{fs::OFlags, io::Errno};

/// A position in the kernel log.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// From the next record on.
    pub fn from_now() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/kmsg")
            .context("open /dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("seek /dev/kmsg")?;
        Ok(Self { file })
    }

    /// The records from there to now as `read(2)` returns them, as far as the log still holds them.
    pub fn records(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut records = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(n) => records.push(record[..n].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(records),
                // Overrun: the next read goes on at the oldest record.
                Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
                Err(error) => return Err(error).context("read /dev/kmsg"),
            }
        }
    }

    /// The kernel's messages from there to now.
    pub fn messages(&mut self) -> Result<Vec<String>> {
        let records = self.records()?;
        Ok(records.iter().filter_map(|r| kernel_message(r)).collect())
    }

    /// The threads of the "Killed process" lines from there to now.
    pub fn killed_tids(&mut self) -> Result<Vec<u32>> {
        let number = |message: &String| {
            let (_, rest) = message.split_once("Killed process ")?;
            rest.split(' ').next()?.parse().ok()
        };
        Ok(self.messages()?.iter().filter_map(number).collect())
    }
}

/// `prio,seq,usec,flags;message`, facility 0 only.
fn kernel_message(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, message) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    (priority >> 3 == 0).then(|| message.lines().next().unwrap_or_default().to_owned())
}
