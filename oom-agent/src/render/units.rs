//! Numbers for people: sizes, durations, counts.
//!
//! Reads the contract's bytes and nanoseconds; emits short text. Rounds, so it is for reading only.

/// Bytes in binary units with one decimal: `512 B`, `1.9 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut name = "";
    for unit in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        tenths = (tenths + 512) / 1024;
        name = unit;
        if tenths < 10 * 1024 {
            break;
        }
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Nanoseconds in the unit that leaves one to four digits: `84 µs`, `1.8 ms`, `3 h 5 min`.
#[must_use]
pub fn duration(ns: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = ns / 1_000_000_000;
    match (ns, seconds) {
        (0..1_000, _) => format!("{ns} ns"),
        (1_000..1_000_000, _) => format!("{} µs", ns / 1_000),
        (_, 0) => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        (_, 1..MINUTE) => format!("{seconds}.{} s", ns / 100_000_000 % 10),
        (_, MINUTE..HOUR) => format!("{} min {} s", seconds / MINUTE, seconds % MINUTE),
        (_, HOUR..DAY) => format!("{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Digits in groups of three: `36,183`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 kill`, `3 kills`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_the_unit_that_fits() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_998_848, "1.9 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (3 << 39, "1.5 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn durations_are_cut_not_rounded_up() {
        for (ns, text) in [
            (0, "0 ns"),
            (840, "840 ns"),
            (84_999, "84 µs"),
            (1_890_000, "1.8 ms"),
            (2_100_000_000, "2.1 s"),
            (61_000_000_000, "1 min 1 s"),
            (11_100_000_000_000, "3 h 5 min"),
            (180_000_000_000_000, "2 d 2 h"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(36_183), "36,183");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(count(1, "kill", "kills"), "1 kill");
        assert_eq!(count(0, "kill", "kills"), "0 kills");
    }
}
