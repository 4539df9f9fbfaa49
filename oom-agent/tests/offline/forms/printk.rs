//! What the kernel itself gives out: the records of `/dev/kmsg`, and lines on a console.

use super::{Record, text::escaped};

/// `msg_print_ext_header` and `msg_add_ext_text` (`kernel/printk/printk.c`).
pub(crate) fn kmsg(records: &[Record]) -> Vec<u8> {
    let mut log = Vec::new();
    for record in records {
        let caller = record.caller().map(|caller| format!(",caller={caller}"));
        let (flag, caller) = (
            if record.fragment { 'c' } else { '-' },
            caller.unwrap_or_default(),
        );
        let Record {
            priority, seq, us, ..
        } = record;
        log.extend(format!("{priority},{seq},{us},{flag}{caller};").into_bytes());
        let odd = |b| b == b'\\' || !matches!(b, b' '..=b'~');
        log.extend(escaped(&record.text, odd, |b| format!("\\x{b:02x}")));
        log.extend(b"\n SUBSYSTEM=memory\n");
    }
    log
}

/// Lines end with CR LF; a program that waits for input has not ended its own.
pub(super) fn console(records: &[Record]) -> Vec<u8> {
    let mut log = b"SeaBIOS (version 1.16.2)\r\n\r\n\x1b[2JBooting from ROM..\r\n".to_vec();
    for (number, record) in records.iter().enumerate() {
        if number % 7 == 3 {
            log.extend(b"node-7 login: ");
        }
        if number % 11 == 5 {
            log.extend(b"test 3: 1.2s ok\r\n\r\n");
        }
        let caller = record.caller().map(|caller| format!("[{caller:>5}]"));
        log.extend(format!("[{}]{} ", record.stamp(), caller.unwrap_or_default()).into_bytes());
        log.extend_from_slice(&record.text);
        log.extend(b"\r\n");
    }
    log
}
