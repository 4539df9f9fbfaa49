//! What files say, and what they do not say.

use proptest::prelude::*;

use super::*;

#[test]
fn a_machine_with_two_sockets_and_two_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(
        "proc/meminfo",
        "MemTotal:       24684084 kB\nMemFree:  1 kB\nSwapTotal:             8 kB\n",
    );
    put("proc/device-tree/vm,uuid", "b6e0b2c5-0000\0");
    put("root/etc/machine-id", "uninitialized\n");
    put(
        "root/var/lib/dbus/machine-id",
        "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
    );
    put(
        "root/usr/lib/os-release",
        "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
    );
    put("sys/devices/system/cpu/online", "0-3,8-11\n");
    for cpu in [0, 1, 2, 3, 8, 9, 10, 11] {
        let of = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        put(
            &format!("{of}/thread_siblings_list"),
            &format!("{},{}\n", cpu % 8, cpu % 8 + 8),
        );
        put(
            &format!("{of}/physical_package_id"),
            &format!("{}\n", cpu % 2),
        );
    }
    put("sys/devices/system/node/online", "0-1\n");
    put(
        "sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal:       1024 kB\nNode 0 MemFree: 1 kB\n",
    );
    put("sys/devices/system/node/node0/cpulist", "0-3\n");
    put("sys/devices/system/node/node1/cpulist", "\n");

    let of = |name: &str| dir.path().join(name);
    let places = Places {
        proc: of("proc"),
        sys: of("sys"),
        root: of("root"),
    };
    let machine = Machine::read(&Host::new("b-o-o-t", "n1"), &places);
    assert_eq!(machine.node.as_deref(), Some("n1"));
    assert_eq!(machine.boot_id.as_deref(), Some("b-o-o-t"));
    assert_eq!(
        machine.machine_id.as_deref(),
        Some("3d1219c7c4c5404aaa1f6d2a48adfda4")
    );
    assert_eq!(machine.system_uuid.as_deref(), Some("b6e0b2c5-0000"));
    assert_eq!(
        machine.os.as_deref(),
        Some("Debian GNU/Linux 12 (bookworm)")
    );
    assert_eq!(machine.memory_bytes, Some(24_684_084 << 10));
    assert_eq!(machine.swap_bytes, Some(8192));
    let cpus = Cpus {
        logical: Some(8),
        cores: Some(4),
        sockets: Some(2),
    };
    assert_eq!(machine.cpus, cpus);
    let numa = vec![
        NumaNode {
            id: 0,
            memory_bytes: Some(1 << 20),
            cpus: Some(vec![0, 1, 2, 3]),
        },
        NumaNode {
            id: 1,
            memory_bytes: None,
            cpus: Some(Vec::new()),
        },
    ];
    assert_eq!(machine.numa, Some(numa));
}

#[test]
fn what_is_not_there_is_unknown() {
    let nowhere = PathBuf::from("/nonexistent");
    let places = Places {
        proc: nowhere.clone(),
        sys: nowhere.clone(),
        root: nowhere,
    };
    let machine = Machine::read(&Host::new("boot", "n1"), &places);
    assert_eq!(machine.machine_id, None);
    assert_eq!(machine.system_uuid, None);
    assert_eq!(machine.os, None);
    assert_eq!(machine.cpus, Cpus::default());
    assert_eq!((machine.memory_bytes, machine.swap_bytes), (None, None));
    assert_eq!(machine.numa, None);
    assert!(!machine.kernel.is_empty() && machine.page_bytes >= 4096);
}

#[test]
fn this_machine_has_memory_and_cpus() {
    let machine = Machine::read(&Host::new("boot", "n1"), &Places::new(Path::new("/")));
    assert!(
        machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20),
        "{machine:?}"
    );
    assert!(
        machine.cpus.logical.is_some_and(|cpus| cpus > 0),
        "{machine:?}"
    );
}

#[test]
fn lists() {
    for (text, numbers) in [
        ("0", Some(vec![0])),
        ("0-2,5\n", Some(vec![0, 1, 2, 5])),
        ("", Some(vec![])),
        ("3-1", None),
        ("a", None),
        ("1-", None),
        ("0-4294967295", None),
        ("0-60000,0-60000", None),
    ] {
        assert_eq!(parse::list(text), numbers, "{text:?}");
    }
}

#[test]
fn names_of_systems() {
    for (text, name) in [
        ("PRETTY_NAME=Alpine\n", Some("Alpine")),
        ("PRETTY_NAME='A \\ B'", Some("A \\ B")),
        ("PRETTY_NAME=\"a \\\"b\\\" \\$c\"", Some("a \"b\" $c")),
        ("PRETTY_NAME=one\nPRETTY_NAME=two", Some("two")),
        ("PRETTY_NAME=", None),
        ("PRETTY_NAME=\"\"", None),
        ("PRETTY_NAME=\"", Some("\"")),
        ("PRETTY_NAME=a\\", None),
        ("NAME=x", None),
    ] {
        assert_eq!(parse::os_name(text).as_deref(), name, "{text:?}");
    }
}

#[test]
fn words_and_sizes() {
    assert_eq!(parse::word("Not Settable\n"), None);
    assert_eq!(parse::word(&"x".repeat(129)), None);
    assert_eq!(
        parse::kibibytes("HugePages_Total: 5\nMemTotal: x kB", "MemTotal"),
        None
    );
    assert_eq!(
        parse::kibibytes("MemTotal: 99999999999999999 kB", "MemTotal"),
        None
    );
    assert_eq!(parse::kibibytes("XMemTotal: 1 kB", "MemTotal"), None);
}

proptest! {
    #[test]
    fn nothing_breaks_them(text in any::<String>()) {
        let _ = (parse::list(&text), parse::word(&text), parse::machine_id(&text));
        let _ = (parse::os_name(&text), parse::kibibytes(&text, "MemTotal"));
    }
}
