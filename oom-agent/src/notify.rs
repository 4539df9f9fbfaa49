//! Telling a service manager how the agent is: `sd_notify(3)`, `sd_watchdog_enabled(3)`.
//!
//! Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; sends datagrams to the socket, a path or, with
//! a leading `@`, an abstract name. Does nothing where they are not set.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// A way to the service manager, opened while sockets can still be made.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// `None` where nobody wants to be told.
    pub fn open() -> io::Result<Option<Self>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        name.map(|name| Self::to(&name)).transpose()
    }

    fn to(name: &OsStr) -> io::Result<Self> {
        Ok(Self {
            address: match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(name)?,
            },
            socket: UnixDatagram::unbound()?,
        })
    }

    /// The agent is armed; `status` is shown to people, one line of it.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        let status = status.lines().next().unwrap_or_default();
        self.send(format!("READY=1\nSTATUS={status}\n").as_bytes())
    }

    /// The agent does its work.
    pub fn alive(&self) -> io::Result<()> {
        self.send(b"WATCHDOG=1\n")
    }

    /// The agent has been told to end.
    pub fn stopping(&self) -> io::Result<()> {
        self.send(b"STOPPING=1\n")
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to_addr(message, &self.address).map(drop)
    }
}

/// Tells the service manager, where there is one; that it cannot be told is a line in the log.
pub fn tell(manager: Option<&Manager>, what: impl FnOnce(&Manager) -> io::Result<()>) {
    if let Some(manager) = manager
        && let Err(error) = what(manager)
    {
        tracing::warn!("cannot talk to the service manager: {error}");
    }
}

/// Within which time the service manager wants to hear that this process is alive; `None` if it does not.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    patience(
        env::var_os("WATCHDOG_USEC"),
        env::var_os("WATCHDOG_PID"),
        std::process::id(),
    )
}

fn patience(usec: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    let ours = pid.is_none_or(|pid| number(pid) == Some(own.into()));
    let usec = usec.and_then(number).filter(|&usec| usec > 0 && ours)?;
    Some(Duration::from_micros(usec))
}

/// Whether something still turns, by the number of its turns.
#[derive(Debug)]
pub struct Pulse {
    seen: u64,
}

impl Pulse {
    /// As of now.
    #[must_use]
    pub fn new(turns: u64) -> Self {
        Self { seen: turns }
    }

    /// Whether it has turned since it was last asked.
    pub fn beats(&mut self, turns: u64) -> bool {
        std::mem::replace(&mut self.seen, turns) != turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("oom-agent-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (receiver, to) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let manager = Manager::to(&to).unwrap();
            manager.ready("tier\nREADY=0").unwrap();
            manager.alive().unwrap();
            manager.stopping().unwrap();
            for message in ["READY=1\nSTATUS=tier\n", "WATCHDOG=1\n", "STOPPING=1\n"] {
                let mut buffer = [0; 64];
                let len = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], message.as_bytes());
            }
        }
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let second = Some(Duration::from_secs(1));
        for (usec, pid, expected) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("seven"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some(""), None, None),
            (None, Some("7"), None),
        ] {
            let found = patience(usec.map(Into::into), pid.map(Into::into), 7);
            assert_eq!(found, expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn what_stands_still_has_no_pulse() {
        let mut pulse = Pulse::new(3);
        let beats = [3, 4, 4, 9, 9].map(|turns| pulse.beats(turns));
        assert_eq!(beats, [false, true, false, true, false]);
    }
}
