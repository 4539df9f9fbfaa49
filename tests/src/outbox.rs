//! The way out of a test guest: named pieces of bytes for the machine that booted it.
//!
//! Writes `NAME LENGTH\n` and the bytes to the guest's second serial port, which `cargo xtask vm` keeps
//! in a file. The console is no such way: the kernel writes there too. Refuses names with blanks.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    sync::Mutex,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

/// The second port: of two of this kind, or the one beside arm64's own console.
const PORT: &str = if cfg!(target_arch = "aarch64") {
    "/dev/ttyS0"
} else {
    "/dev/ttyS1"
};

/// The open port.
#[derive(Debug)]
pub struct Outbox(Mutex<File>);

impl Outbox {
    /// Opens the port for bytes as they are.
    pub fn open() -> Result<Self> {
        let port = OpenOptions::new().write(true).open(PORT).context(PORT)?;
        let mut settings = tcgetattr(&port).context(PORT)?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings).context(PORT)?;
        Ok(Self(Mutex::new(port)))
    }

    /// Sends a piece, and waits until it has left the guest: the next moment may be its last.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            !name.contains(|c: char| c.is_whitespace()),
            "a name with blanks: {name:?}"
        );
        let mut port = self.0.lock().map_err(|_| anyhow!("outbox"))?;
        port.write_all(format!("{name} {}\n", bytes.len()).as_bytes())?;
        port.write_all(bytes)?;
        tcdrain(&*port).context(PORT)
    }
}
