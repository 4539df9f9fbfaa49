//! The texts that tell of a machine.
//!
//! Reads text; emits what it says. Pure. Refuses what is not of the form: it is `None`.

/// More CPUs or nodes than any kernel has (`CONFIG_NR_CPUS` is 8192 at most).
const MOST: usize = 1 << 16;

/// The value of `NAME: VALUE kB`, in bytes; in a node's own file a `Node N` precedes it
/// (`fs/proc/meminfo.c`, `drivers/base/node.c`).
pub(super) fn kibibytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (left, value) = line.split_once(':')?;
        if left.rsplit(' ').next()? != name {
            return None;
        }
        let value: u64 = value.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
        value.checked_mul(1024)
    })
}

/// A list such as `0-3,8` (`lib/bitmap-str.c`); empty for none.
pub(super) fn list(text: &str) -> Option<Vec<u32>> {
    let text = text.trim();
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let count = usize::try_from(last.checked_sub(first)?).ok()?;
        if numbers.len() + count >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// 32 hexadecimal digits; not `uninitialized` (machine-id(5)).
pub(super) fn machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| id.to_owned())
}

/// One word of visible ASCII; the device tree ends it with a zero.
pub(super) fn word(text: &str) -> Option<String> {
    let word = text.trim_end_matches('\0').trim();
    let is_one = (1..=128).contains(&word.len()) && word.bytes().all(|it| it.is_ascii_graphic());
    is_one.then(|| word.to_owned())
}

/// `PRETTY_NAME` of os-release(5): a value as of a shell.
pub(super) fn os_name(text: &str) -> Option<String> {
    let lines = text.lines();
    let value = lines
        .filter_map(|line| line.trim().strip_prefix("PRETTY_NAME="))
        .next_back()?;
    let quoted = |mark| value.strip_prefix(mark)?.strip_suffix(mark);
    if let Some(literal) = quoted('\'') {
        return named(literal.to_owned());
    }
    let mut characters = quoted('"').unwrap_or(value).chars();
    let mut name = String::new();
    while let Some(character) = characters.next() {
        name.push(if character == '\\' {
            characters.next()?
        } else {
            character
        });
    }
    named(name)
}

fn named(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}
