//! Debug lines of the kernel side (`aya-log`), into the agent's own log.
//!
//! Only on request (`run --debug-bpf`): otherwise the verifier has pruned the code that writes them.

use std::{io, thread};

use aya::Ebpf;
use aya_log::EbpfLogger;
use rustix::event::{PollFd, PollFlags, poll};

use crate::confine::{Guard, idle_thread};

/// Starts a thread that passes the lines on until the process ends. `without`: protections that it is not to
/// have.
pub fn spawn(ebpf: &mut Ebpf, without: &[Guard]) -> io::Result<()> {
    let without = without.to_vec();
    let mut logger = EbpfLogger::init(ebpf).map_err(io::Error::other)?;
    thread::Builder::new()
        .name("bpf-debug".into())
        .spawn(move || {
            idle_thread(&without);
            loop {
                match poll(&mut [PollFd::new(&logger, PollFlags::IN)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => logger.flush(),
                    Err(error) => {
                        tracing::warn!("debug lines of the kernel side end: {error}");
                        return;
                    }
                }
            }
        })?;
    Ok(())
}
