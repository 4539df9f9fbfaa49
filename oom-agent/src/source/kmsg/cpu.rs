//! The line that any stack begins with: which CPU, which task, which kernel
//! (`dump_stack_print_info`, `lib/dump_stack.c`).
//!
//! Reads `CPU: 1 PID: 77 Comm: x Not tainted 6.1.9 #1`, with `UID: 0` before the pid since 6.11, and
//! `Pid: 77, comm: x …` of the first 3.10 derivatives. The name was chosen by its process and may
//! imitate all that follows it, so only who knows the name can read on ([`release`]). Refuses what is
//! not of that form.

use super::scan::{leading_number, words};
use crate::text::Comm;

/// What stands in it before and after the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu<'a> {
    /// The CPU; the oldest form leaves it out.
    pub cpu: Option<u32>,
    /// Thread.
    pub tid: u32,
    /// From the name on: the name, a space, taint and version.
    pub comm_and_rest: &'a [u8],
}

impl<'a> Cpu<'a> {
    /// Parses a message.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        if let Some(rest) = message.strip_prefix(b"Pid: ") {
            let (tid, rest) = leading_number(rest)?;
            return Some(Self {
                cpu: None,
                tid: tid.try_into().ok()?,
                comm_and_rest: rest.strip_prefix(b", comm: ")?,
            });
        }
        let (cpu, mut rest) = leading_number(message.strip_prefix(b"CPU: ")?)?;
        if let Some(uid) = rest.strip_prefix(b" UID: ") {
            rest = leading_number(uid)?.1;
        }
        let (tid, rest) = leading_number(rest.strip_prefix(b" PID: ")?)?;
        Some(Self {
            cpu: Some(cpu.try_into().ok()?),
            tid: tid.try_into().ok()?,
            comm_and_rest: rest.strip_prefix(b" Comm: ")?,
        })
    }

    /// What follows the name, if this is the line of a task of that name.
    #[must_use]
    pub fn after(&self, comm: Comm) -> Option<&'a [u8]> {
        let rest = self.comm_and_rest.strip_prefix(comm.as_bytes())?;
        let rest = rest.strip_prefix(b" ")?;
        let rest = rest.strip_prefix(b"Kdump: loaded ").unwrap_or(rest);
        // The name of another task may go on with these words, but not fit them in and say them twice.
        let tainted = |rest: &'a [u8]| {
            let rest = rest.strip_prefix(b"Not tainted")?;
            rest.starts_with(b" ").then_some(rest)
        };
        tainted(rest)
            .filter(|rest| !rest.starts_with(b" Not tainted"))
            .or(rest.strip_prefix(b"Tainted:"))
    }
}

/// The kernel's release, from what follows the name: the first word behind the taint flags, which are
/// single letters in columns (RHEL 7 has dashes among them).
#[must_use]
pub fn release(after: &[u8]) -> Option<&str> {
    let is_flags = |word: &&[u8]| word.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    let mut words = words(after).skip_while(is_flags);
    let release = words.next()?;
    let of_release =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_' | b'~');
    let looks_like_one = release.len() <= 64
        && release.first()?.is_ascii_digit()
        && release.contains(&b'.')
        && release.iter().all(of_release);
    // The build number follows it.
    let numbered = words.next().is_none_or(|word| word.starts_with(b"#"));
    (looks_like_one && numbered)
        .then(|| std::str::from_utf8(release).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kernel() {
        let cases: &[(&str, Option<u32>, Option<&str>)] = &[
            (
                "CPU: 2 PID: 77 Comm: a b Not tainted 3.10.0-1160.el7.x86_64 #1",
                Some(2),
                Some("3.10.0-1160.el7.x86_64"),
            ),
            (
                "CPU: 2 PID: 77 Comm: a b Tainted: G        W      ------------ T 3.10.0-957.21.3.el7.x86_64 #1",
                Some(2),
                Some("3.10.0-957.21.3.el7.x86_64"),
            ),
            (
                "CPU: 2 PID: 77 Comm: a b Kdump: loaded Tainted: P           OE    --------- -  - 4.18.0-372.el8.x86_64 #1",
                Some(2),
                Some("4.18.0-372.el8.x86_64"),
            ),
            (
                "CPU: 2 UID: 0 PID: 77 Comm: a b Not tainted 6.12.9+deb13-cloud-amd64 #1  Debian 6.12.9-1",
                Some(2),
                Some("6.12.9+deb13-cloud-amd64"),
            ),
            (
                "Pid: 77, comm: a b Not tainted 3.10.0 #1",
                None,
                Some("3.10.0"),
            ),
            (
                "CPU: 2 PID: 77 Comm: a b Not tainted my kernel",
                Some(2),
                None,
            ),
            ("CPU: 2 PID: 77 Comm: a b Tainted: G 6.1 of", Some(2), None),
        ];
        for (message, cpu, kernel) in cases {
            let line = Cpu::parse(message.as_bytes()).unwrap();
            assert_eq!((line.cpu, line.tid), (*cpu, 77), "{message}");
            let after = line.after(Comm::new(b"a b")).unwrap();
            assert_eq!(release(after), *kernel, "{message}");
        }
    }

    #[test]
    fn another_name_is_not_taken_for_this_one() {
        for name in ["a bc", "a b Not tainted", "a b Not", "x"] {
            let message = format!("CPU: 2 PID: 7 Comm: {name} Not tainted 6.1.9 #1");
            let line = Cpu::parse(message.as_bytes()).unwrap();
            assert_eq!(line.after(Comm::new(b"a b")), None, "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_such_line() {
        for message in [
            "CPU: ",
            "CPU    0: hi:    0, btch:   1 usd:   0",
            "CPU: 1 PID: x Comm: y",
            "CPU: 99999999999 PID: 1 Comm: y z",
            "CPU: 1 PID: 99999999999 Comm: y z",
            "Pid: 1 comm: y",
        ] {
            assert_eq!(Cpu::parse(message.as_bytes()), None, "{message}");
        }
    }
}
