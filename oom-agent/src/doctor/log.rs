//! The kernel log: whether it can be read, and whether a slow console makes it late.

use std::path::Path;

use super::{Check, State, setting};
use crate::source::kmsg::{KmsgReader, Options, Position};

const KMSG: &str = "/dev/kmsg";

/// Consoles are given what is more urgent than `console_loglevel`; most of an OOM report is level 4
/// to 6, a kill line level 3.
const REPORT_LEVEL: u8 = 4;

pub(super) fn kmsg() -> Check {
    let name = "kernel log";
    let restricted = setting("/proc/sys/kernel/dmesg_restrict");
    let restricted = restricted.as_deref().unwrap_or("unknown");
    match KmsgReader::open(Path::new(KMSG), Position::End, Options::default()) {
        Ok(_) => Check::ok(
            name,
            format!("{KMSG} is readable (dmesg_restrict is {restricted})"),
        ),
        Err(error) => {
            let error = crate::error::chain(&error);
            Check::new(
                name,
                State::Missing,
                format!("{error} (dmesg_restrict is {restricted})"),
            )
            .cost(
                "no second witness: what the ring had no room for is known as a number alone, \
                     and there is no report without BPF",
            )
            .fix("CAP_SYSLOG, and the device in a container: --device /dev/kmsg")
        }
    }
}

pub(super) fn console() -> Check {
    slow_console(
        setting("/proc/consoles").as_deref(),
        setting("/proc/sys/kernel/printk").as_deref(),
    )
}

/// `/proc/consoles`: `ttyS0 -W- (EC p a) 4:64`, where E is enabled. `printk`: the first number.
fn slow_console(consoles: Option<&str>, printk: Option<&str>) -> Check {
    let name = "console";
    let level = printk.and_then(|text| text.split_whitespace().next()?.parse::<u8>().ok());
    let (Some(consoles), Some(level)) = (consoles, level) else {
        return Check::new(
            name,
            State::Unknown,
            "/proc/consoles or kernel.printk is not readable",
        );
    };
    let serial = consoles.lines().find_map(|line| {
        let device = line.split_whitespace().next()?;
        let slow = ["ttyS", "ttyAMA", "ttyUSB", "ttyLP", "ttyPS", "ttymxc"]
            .iter()
            .any(|prefix| device.starts_with(prefix));
        (slow && line.contains("(E")).then_some(device)
    });
    match serial {
        None => Check::ok(name, "no serial console"),
        Some(device) if level <= REPORT_LEVEL => Check::ok(
            name,
            format!("{device} prints no OOM report (loglevel {level})"),
        ),
        Some(device) => {
            let found = format!("{device} prints OOM reports (loglevel {level})");
            Check::new(name, State::Degraded, found)
                .cost("the kernel may wait for it, up to seconds per report: the log comes late")
                .fix("sysctl kernel.printk=4")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_serial_console_that_prints_reports_is_slow() {
        let serial = "tty0 -WU (EC p  ) 4:1\nttyS0 -W- (EC p a) 4:64\n";
        for (consoles, printk, state) in [
            (Some(serial), Some("7\t4\t1\t7"), State::Degraded),
            (Some(serial), Some("5 4 1 7"), State::Degraded),
            (Some(serial), Some("4\t4\t1\t7"), State::Ok),
            (Some("tty0 -WU (EC p  ) 4:1"), Some("7"), State::Ok),
            (Some("ttyS0 -W- ( C p a) 4:64"), Some("7"), State::Ok),
            (Some(""), Some("7"), State::Ok),
            (Some(serial), Some(""), State::Unknown),
            (Some(serial), None, State::Unknown),
            (None, Some("7"), State::Unknown),
        ] {
            let check = slow_console(consoles, printk);
            assert_eq!(check.state, state, "{consoles:?} {printk:?}");
        }
    }
}
