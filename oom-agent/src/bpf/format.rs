//! tracefs `events/oom/mark_victim/format` → offsets for the classic tracepoint.
//!
//! Asks the kernel, never assumes: some builds shift the common header by four bytes.

use std::{fs, io, path::Path};

use oom_common::Layout;
use thiserror::Error;

/// Where tracefs may be mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Why the classic tracepoint cannot be used.
#[derive(Debug, Error)]
pub enum FormatError {
    /// No tracefs, or no such event.
    #[error(
        "tracefs has no readable events/oom/mark_victim/format (mount it: mount -t tracefs tracefs /sys/kernel/tracing)"
    )]
    Unreadable(#[source] io::Error),
    /// The file names no `pid`.
    #[error("events/oom/mark_victim/format names no field `pid`")]
    NoPid,
}

/// Reads the offsets of the running kernel into `layout`.
pub fn read(layout: &mut Layout) -> Result<(), FormatError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for root in TRACEFS {
        match fs::read_to_string(Path::new(root).join("events/oom/mark_victim/format")) {
            Ok(format) => return parse(&format, layout),
            Err(error) => last = error,
        }
    }
    Err(FormatError::Unreadable(last))
}

/// Lines like `field:int pid; offset:8; size:4; signed:1;`, with tabs between.
fn parse(format: &str, layout: &mut Layout) -> Result<(), FormatError> {
    for line in format.lines() {
        let Some((declaration, rest)) = line
            .trim()
            .strip_prefix("field:")
            .and_then(|line| line.split_once(';'))
        else {
            continue;
        };
        let name = declaration.rsplit(' ').next().unwrap_or_default();
        let offset = rest
            .split(';')
            .find_map(|part| part.trim().strip_prefix("offset:")?.parse::<u32>().ok());
        let Some(offset) = offset else { continue };
        match name {
            "pid" => layout.classic_pid = offset,
            "comm" => layout.classic_comm = offset,
            "total_vm" => layout.classic_total_vm = offset,
            "anon_rss" => layout.classic_anon_rss = offset,
            "file_rss" => layout.classic_file_rss = offset,
            "shmem_rss" => layout.classic_shmem_rss = offset,
            "uid" => layout.classic_uid = offset,
            "pgtables" => layout.classic_pgtables = offset,
            "oom_score_adj" => layout.classic_oom_score_adj = offset,
            _ => {}
        }
    }
    if layout.classic_pid == oom_common::ABSENT {
        Err(FormatError::NoPid)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "\
name: mark_victim
ID: 414
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int pid;	offset:8;	size:4;	signed:1;

print fmt: \"pid=%d\", REC->pid
";
    const LONG: &str = "\
	field:int common_pid;	offset:4;	size:4;	signed:1;
	field:unsigned char common_preempt_lazy_count;	offset:8;	size:1;	signed:0;

	field:int pid;	offset:12;	size:4;	signed:1;
	field:__data_loc char[] comm;	offset:16;	size:4;	signed:0;
	field:unsigned long total_vm;	offset:24;	size:8;	signed:0;
	field:short oom_score_adj;	offset:72;	size:2;	signed:1;
";

    #[test]
    fn both_forms_and_a_shifted_header() {
        let mut layout = Layout::UNKNOWN;
        parse(SHORT, &mut layout).unwrap();
        assert_eq!(
            (layout.classic_pid, layout.classic_comm),
            (8, oom_common::ABSENT)
        );
        parse(LONG, &mut layout).unwrap();
        assert_eq!((layout.classic_pid, layout.classic_comm), (12, 16));
        assert_eq!(
            (layout.classic_total_vm, layout.classic_oom_score_adj),
            (24, 72)
        );
    }

    #[test]
    fn a_format_without_pid_is_refused() {
        assert!(parse("field:int other;	offset:8;", &mut Layout::UNKNOWN.clone()).is_err());
    }
}
