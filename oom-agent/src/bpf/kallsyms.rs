//! `/proc/kallsyms`: the kernel's functions, by name.
//!
//! Reads its lines; emits address and name of each symbol. Refuses lines that are not of its form.

use std::io::{self, BufRead};

/// Every symbol of the kernel's text, up to `_etext`: behind it come data, start-up code and modules,
/// half of the file.
pub(crate) fn each_symbol(
    mut kallsyms: impl BufRead,
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let mut line = Vec::with_capacity(256);
    while kallsyms.read_until(b'\n', &mut line)? > 0 {
        if let Some((address, name)) = symbol(&line) {
            take(address, name);
            if name == b"_etext" {
                break;
            }
        }
        line.clear();
    }
    Ok(())
}

/// `ffffffff81598eb0 t __oom_kill_process\t[module]`
fn symbol(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut words = line.split(u8::is_ascii_whitespace);
    let address = u64::from_str_radix(std::str::from_utf8(words.next()?).ok()?, 16).ok()?;
    words.next()?;
    Some((address, words.next()?))
}

/// Whether this is the part of a function that compilers move away: `.cold`, older ones `.cold.57`.
pub(crate) fn is_cold(name: &[u8]) -> bool {
    let mut parts = name.split(|&byte| byte == b'.').skip(1);
    parts.any(|part| part == b"cold")
}
