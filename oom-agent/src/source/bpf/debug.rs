//! Debug lines of the kernel side (`aya-log`), into the agent's own log.
//!
//! Only on request (`run --debug-bpf`): otherwise the verifier has pruned the code that writes them.

use std::{io, thread};

use aya::Ebpf;
use aya_log::EbpfLogger;
use rustix::event::{PollFd, PollFlags, poll};

/// Starts a thread that passes the lines on until the process ends.
pub fn spawn(ebpf: &mut Ebpf) -> io::Result<()> {
    let mut logger = EbpfLogger::init(ebpf).map_err(io::Error::other)?;
    thread::Builder::new()
        .name("bpf-debug".into())
        .spawn(move || {
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
