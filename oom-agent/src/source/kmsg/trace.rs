//! The call trace of a report: through which functions the kernel came to be out of memory.
//!
//! Reads the lines of a stack (`show_stack`) and where it begins and ends; emits names of functions,
//! the innermost first. Leaves out frames that the kernel is not sure of (`?`), and those of the report
//! itself, which are the same in every report. Refuses a trace that another task's was mixed into.

use super::scan::number;
use crate::{allocation::base_name, call_trace::CallTrace, text::printable};

/// Functions kept of one trace.
const MAX_FRAMES: usize = 48;

/// Longer names are left out (`KSYM_NAME_LEN` is 512 since 6.1; C has none of half that length).
const MAX_NAME: usize = 255;

/// How a report is made and a victim chosen, not what asked for the memory.
const MACHINERY: &[&[u8]] = &[
    b"dump_backtrace",
    b"show_stack",
    b"show_stack_lvl",
    b"__dump_stack",
    b"dump_stack",
    b"dump_stack_lvl",
    b"dump_header",
    b"oom_kill_process",
    b"__out_of_memory",
    b"out_of_memory",
    b"mem_cgroup_out_of_memory",
];

/// The function of a line of a stack; `None` if it is no such line, or the kernel is not sure of it.
///
/// ```text
///  [<ffffffff81123456>] dump_stack+0x19/0x1b          before 4.10
///  dump_stack+0x19/0x1b [module]
///  [<c0014200>] (dump_backtrace) from [<c0015020>] …  arm, before 5.18 with addresses
/// ```
#[must_use]
pub fn function(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message.trim_ascii_start();
    if rest.len() == message.len() && rest.first() != Some(&b'[') {
        return None;
    }
    while let Some(address) = rest.strip_prefix(b"[") {
        let end = address.iter().position(|&b| b == b']')?;
        rest = address[end + 1..].trim_ascii_start();
    }
    let end = rest.iter().position(|&b| matches!(b, b'+' | b' ' | b')'))?;
    let (name, tail) = rest.split_at(end);
    let (name, tail) = match name.strip_prefix(b"(") {
        Some(name) => (name, tail.strip_prefix(b")")?),
        None => (name, tail),
    };
    let of_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$');
    let named = !name.is_empty() && name.len() <= MAX_NAME && name.iter().all(of_name);
    let placed = tail.starts_with(b" from ")
        || tail.strip_prefix(b"+0x").is_some_and(|offsets| {
            let end = offsets.iter().position(|b| !b.is_ascii_hexdigit());
            end.is_some_and(|end| end > 0 && offsets[end..].starts_with(b"/0x"))
                && !offsets.ends_with(b"(unreliable)")
        });
    (named && placed && number::<u64>(name).is_none()).then_some(name)
}

/// Whether a line is the last of a stack's frames: registers follow, or nothing.
#[must_use]
pub fn is_end(message: &[u8]) -> bool {
    message.starts_with(b"RIP: ") || message.trim_ascii_start().starts_with(b"</TASK>")
}

/// Whether a line announces the frames.
#[must_use]
pub fn is_begin(message: &[u8]) -> bool {
    let trimmed = message.trim_ascii();
    matches!(
        trimmed,
        b"Call Trace:" | b"Call trace:" | b"Backtrace:" | b"Backtrace: "
    )
}

/// The trace of one report.
#[derive(Debug, Default)]
pub(super) struct Trace {
    state: State,
    functions: CallTrace,
    kept: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The line of the task that asked has not come.
    #[default]
    Waiting,
    /// It has; its frames will follow.
    Announced,
    Running,
    Over,
    /// Another task's stack was printed in between: whose frame is whose is not known.
    Mixed,
}

impl Trace {
    /// The line of the task that asked.
    pub(super) fn announce(&mut self) {
        self.state = match self.state {
            State::Waiting => State::Announced,
            State::Announced | State::Running => State::Mixed,
            done => done,
        };
    }

    /// The line of another task.
    pub(super) fn other(&mut self) {
        if self.state != State::Over {
            self.state = State::Mixed;
        }
    }

    pub(super) fn begin(&mut self) {
        self.state = match self.state {
            State::Announced => State::Running,
            State::Running => State::Mixed,
            other => other,
        };
    }

    pub(super) fn frame(&mut self, function: &[u8]) {
        let wanted = self.state == State::Running
            && self.kept < MAX_FRAMES
            && !MACHINERY.contains(&base_name(function));
        if wanted {
            self.functions.push(&printable(function));
            self.kept += 1;
        }
    }

    /// Something else follows.
    pub(super) fn end(&mut self) {
        if self.state == State::Running {
            self.state = State::Over;
        }
    }

    /// The functions, none if they cannot be told apart from another task's.
    pub(super) fn take(&mut self) -> CallTrace {
        let functions = std::mem::take(&mut self.functions);
        if self.state == State::Mixed {
            return CallTrace::default();
        }
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_kernel() {
        let cases: &[(&str, Option<&str>)] = &[
            (
                " [<ffffffff9a9c2a8e>] oom_kill_process+0x2cd/0x490",
                Some("oom_kill_process"),
            ),
            (
                "[<ffffffff9a9c2a8e>] oom_kill_process+0x2cd/0x490",
                Some("oom_kill_process"),
            ),
            (" [<ffffffff9a9c2a8e>] ? find_lock_task_mm+0x56/0xc0", None),
            (" dump_header.isra.0+0x43/0x1c0", Some("dump_header.isra.0")),
            (" ? srso_alias_return_thunk+0x5/0xfbef5", None),
            (
                " xfs_file_read_iter+0x6f/0xe0 [xfs]",
                Some("xfs_file_read_iter"),
            ),
            (
                "[<c0014200>] (dump_backtrace) from [<c0015020>] (show_stack+0x20/0x28)",
                Some("dump_backtrace"),
            ),
            (
                " dump_backtrace from show_stack+0x10/0x14",
                Some("dump_backtrace"),
            ),
            (
                "[c00000000f] [c000000000] dump_stack+0xb0/0xf0 (unreliable)",
                None,
            ),
            (
                " [c00000000f] [c000000000] dump_stack+0xb0/0xf0",
                Some("dump_stack"),
            ),
            (" r7:600e0013 r6:c08f8ab8", None),
            (" <TASK>", None),
            (" active_file:1 inactive_file:2", None),
            (" +0x1/0x2", None),
            (" 17+0x1/0x2", None),
            (" x+0x/0x2", None),
            ("x+0x1/0x2", None),
            (" a b+0x1/0x2", None),
            ("[", None),
            ("", None),
        ];
        for (message, expected) in cases {
            assert_eq!(
                function(message.as_bytes()),
                expected.map(str::as_bytes),
                "{message}"
            );
        }
    }

    /// One letter a call: `a`nnounce, `o`ther, `b`egin, `e`nd, `m`achinery, `f`rame.
    fn functions(calls: &str) -> usize {
        let mut trace = Trace::default();
        for call in calls.chars() {
            match call {
                'a' => trace.announce(),
                'o' => trace.other(),
                'b' => trace.begin(),
                'e' => trace.end(),
                'm' => trace.frame(b"dump_header.isra.0"),
                _ => trace.frame(b"f"),
            }
        }
        trace.take().iter().count()
    }

    #[test]
    fn only_the_frames_of_the_task_that_asked_are_kept() {
        for (calls, kept) in [
            ("abmffef", 2),
            ("bff", 0),
            ("aff", 0),
            ("obffabff", 0),
            ("abffobff", 0),
            ("abffbff", 0),
            ("abffaff", 0),
            ("abffeobff", 2),
            ("abffeaff", 2),
        ] {
            assert_eq!(functions(calls), kept, "{calls}");
        }
        assert_eq!(functions(&format!("ab{}", "f".repeat(100))), MAX_FRAMES);
    }
}
