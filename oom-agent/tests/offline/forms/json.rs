//! Logs of JSON: of dmesg and of the journal.

use std::fmt::Write as _;

use super::{BOOT_ID, HOST, Record, text::escaped};

/// Bytes that are not UTF-8 stay as they are.
fn json_string(text: &[u8]) -> Vec<u8> {
    let inner = escaped(
        text,
        |b| b < b' ' || matches!(b, b'"' | b'\\'),
        |b| match b {
            b'\n' => "\\n".into(),
            b'"' | b'\\' => format!("\\{}", char::from(b)),
            _ => format!("\\u{b:04x}"),
        },
    );
    [b"\"", &inner[..], b"\""].concat()
}

pub(super) fn dmesg_json(records: &[Record]) -> Vec<u8> {
    let objects = records.iter().map(|record| {
        let mut object = format!(
            "\n         \"pri\": {},\n         \"time\": {},",
            record.priority,
            record.stamp()
        );
        if let Some(caller) = record.caller() {
            write!(object, "\n         \"caller\": \"{caller}\",").unwrap();
        }
        object += "\n         \"msg\": ";
        [
            object.into_bytes(),
            json_string(&record.text),
            b"\n      }".to_vec(),
        ]
        .concat()
    });
    let objects: Vec<Vec<u8>> = objects.collect();
    let objects = objects.join(&b",{"[..]);
    [b"{\n   \"dmesg\": [\n      {", &objects[..], b"\n   ]\n}\n"].concat()
}

/// What is not UTF-8, or holds controls, is an array of bytes.
pub(super) fn journal_json(records: &[Record], indent: &str, end: &str) -> Vec<u8> {
    let mut log = Vec::new();
    for record in records {
        let printable = |&b: &u8| b >= b' ' || b == b'\n';
        let plain = std::str::from_utf8(&record.text).is_ok() && record.text.iter().all(printable);
        let message = if plain {
            json_string(&record.text)
        } else {
            serde_json::to_vec(&record.text).unwrap()
        };
        let id = BOOT_ID.replace('-', "");
        let (unix_us, us, level) = (record.unix_us(), record.us, record.priority & 7);
        let fields = [
            format!("\"__CURSOR\":\"s=1;b={id}\""),
            format!("\"__REALTIME_TIMESTAMP\":\"{unix_us}\""),
            format!("\"__MONOTONIC_TIMESTAMP\":\"{}\"", us + 17),
            format!("\"_BOOT_ID\":\"{id}\""),
            format!("\"_SOURCE_MONOTONIC_TIMESTAMP\":\"{us}\""),
            "\"_UDEV_DEVLINK\":[\"/dev/a\",\"/dev/b\"]".into(),
            format!("\"PRIORITY\":\"{level}\""),
            "\"_TRANSPORT\":\"kernel\"".into(),
            "\"SYSLOG_FACILITY\":\"0\"".into(),
            format!("\"_HOSTNAME\":\"{HOST}\""),
        ];
        log.push(b'{');
        for field in fields {
            log.extend(format!("{indent}{field},").into_bytes());
        }
        log.extend(format!("{indent}\"MESSAGE\":").into_bytes());
        log.extend(message);
        log.extend(format!("{end}}}\n").into_bytes());
    }
    log
}
