//! Ids of kills, short enough for a table and still enough to find them by.
//!
//! Reads ids as `correlate` makes them: the boot, then the process and its start, or the record of the
//! log. Emits what stands behind the boot, without most of the digits of the start. Leaves alone what it
//! does not know.

/// Digits of a start. A process id with these is hardly ever there twice.
const DIGITS: usize = 6;

/// Characters of a boot id: as events have it, and as the kernel writes it.
const BOOT: [usize; 2] = [32, 36];

/// `22071-381123`.
pub(super) fn short(id: &str) -> &str {
    let behind = split_boot(id).map_or(id, |(_, behind)| behind);
    match behind.split_once('-') {
        Some((pid, start)) if is_number(pid) && is_number(start) => {
            let end = pid.len() + 1 + start.len().min(DIGITS);
            &behind[..end]
        }
        _ => behind,
    }
}

/// The boot of an id of a kill or a report, and what stands behind it.
pub(super) fn split_boot(id: &str) -> Option<(&str, &str)> {
    let id = id.strip_prefix("oom-").unwrap_or(id);
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    BOOT.into_iter().find_map(|length| {
        let (boot, behind) = id.split_at_checked(length)?;
        let behind = behind.strip_prefix('-')?;
        boot.bytes().all(hex).then_some((boot, behind))
    })
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTS: [&str; 2] = [
        "5f1f2e6a7f2b4a638f0e1d1f0d4c9a11",
        "5f1f2e6a-7f2b-4a63-8f0e-1d1f0d4c9a11",
    ];

    #[test]
    fn what_stands_behind_the_boot() {
        for (behind, expected) in [
            ("22071-38112345678901", "22071-381123"),
            ("22071-381", "22071-381"),
            ("22071-mark38112345678901", "22071-mark38112345678901"),
            ("kmsg1234567", "kmsg1234567"),
        ] {
            for boot in BOOTS {
                assert_eq!(short(&format!("{boot}-{behind}")), expected);
                assert_eq!(short(&format!("oom-{boot}-{behind}")), expected);
            }
        }
        for other in ["", "boot-1", "created-x", "ü", "kill-7"] {
            assert_eq!(short(other), other);
        }
    }
}
