//! Files that no runtime writes, links that lead elsewhere, and cgroups that would be others.

use std::{
    os::unix::{fs::symlink, net::UnixListener},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

const BUNDLE: &str = "run/containerd/io.containerd.runtime.v2.task/default/demo/config.json";
const DEMO: &str = "/default/demo";
const GOOD: &str = r#"{"linux":{"cgroupsPath":"/default/demo"}}"#;

fn with_bundle(content: impl AsRef<[u8]>) -> Lookup {
    let host = Host::new(&[]);
    host.write(BUNDLE, content);
    let began = Instant::now();
    let found = host.lookup(DEMO);
    assert!(began.elapsed() < Duration::from_secs(10));
    found
}

#[test]
fn content_that_no_runtime_writes() {
    let unreadable = Lookup::Unreadable;
    let padded = |bytes: usize| GOOD.to_owned() + &" ".repeat(bytes - GOOD.len());
    let found = with_bundle(padded(1 << 20));
    assert_eq!(told(&found), "Containerd id=demo name=demo");
    assert_eq!(
        with_bundle(padded((1 << 20) + 1)),
        unreadable(Unreadable::TooLarge)
    );
    let deep = |open: &str, levels: usize| {
        format!(
            r#"{{"x":{},"annotations":{}"#,
            open.repeat(levels),
            open.repeat(levels)
        )
    };
    for content in [
        &b""[..],
        b"{",
        b"null",
        b"\xff\xfe",
        b"{\"annotations\":{\"nerdctl/name\":\"\xff\"},\"linux\":{\"cgroupsPath\":\"/default/demo\"}}",
        b"{\"annotations\":7,\"linux\":{\"cgroupsPath\":\"/default/demo\"}}",
        b"{\"annotations\":{\"nerdctl/name\":1},\"linux\":{\"cgroupsPath\":\"/default/demo\"}}",
        b"{\"annotations\":{\"nerdctl/name\":\"a\",\"nerdctl/name\":\"b\"},\"linux\":{}}",
        br#"{"linux":{"cgroupsPath":"/default/demo"}}{}"#,
        br#"{"linux":{"cgroupsPath":"/default/demo"}} x"#,
        "[".repeat(1 << 20).as_bytes(),
        deep("[", 1000).as_bytes(),
        deep("{\"a\":", 1000).as_bytes(),
    ] {
        let start = String::from_utf8_lossy(&content[..content.len().min(80)]);
        let malformed = unreadable(Unreadable::Malformed);
        assert_eq!(with_bundle(content), malformed, "{start}");
    }
    for (length, kept) in [(253, true), (254, false)] {
        let name = "n".repeat(length);
        let content = format!(
            r#"{{"annotations":{{"nerdctl/name":"{name}"}},"linux":{{"cgroupsPath":"/default/demo"}}}}"#
        );
        assert_eq!(matches!(with_bundle(content), Lookup::Found(_)), kept);
    }
    let odd = r#"{"annotations":{"nerdctl/name":"\u001b[31m\n\u202e "},"linux":{"cgroupsPath":"/default/demo"}}"#;
    let Lookup::Found(names) = with_bundle(odd) else {
        panic!("odd names are kept");
    };
    assert_eq!(
        names.container_name.as_deref(),
        Some("\u{1b}[31m\n\u{202e} ")
    );
}

#[test]
fn what_is_not_a_file() {
    let host = Host::new(&[("elsewhere/config.json", GOOD), ("secret", GOOD)]);
    let root = host.root();
    let file = root.join(BUNDLE);
    let dir = file.parent().unwrap();
    fs::create_dir_all(dir).unwrap();
    let not_a_file = Lookup::Unreadable(Unreadable::NotAFile);
    let expect = |what: &str| {
        assert_eq!(host.lookup(DEMO), not_a_file, "{what}");
        if file.is_dir() && !file.is_symlink() {
            fs::remove_dir(&file).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
    };
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR, 0).unwrap();
    expect("fifo");
    let socket = UnixListener::bind(&file).unwrap();
    expect("socket");
    drop(socket);
    fs::create_dir(&file).unwrap();
    expect("directory");
    for target in [
        "../../../../../../secret",
        "/secret",
        "/dev/zero",
        "/proc/self/fd/0",
        "none",
    ] {
        symlink(target, &file).unwrap();
        expect(target);
    }
    if mknodat(CWD, &file, FileType::CharacterDevice, Mode::RUSR, 0x0105).is_ok() {
        expect("device");
    }
    fs::remove_dir(dir).unwrap();
    symlink(root.join("elsewhere"), dir).unwrap();
    assert_eq!(host.lookup(DEMO), not_a_file, "link to a directory");
}

#[test]
fn a_file_that_does_not_say_how_large_it_is() {
    // As large as it likes, and says 0.
    let proc = super::super::files::Root::open(Path::new("/proc"));
    let Ok(dir) = proc.dir("self") else {
        return;
    };
    let mut bytes = Vec::new();
    let read = dir.read("stat", 8, &mut bytes);
    assert_eq!(read, Err(Unreadable::TooLarge.into()));
    assert!(bytes.capacity() < 4096);
}

#[test]
fn each_reason_is_counted() {
    let host = Host::new(&[("etc/containerd/config.toml", "state = 7")]);
    let mut finder = host.finder();
    let mut expected = Counters {
        absent: 1,
        settings: 1,
        ..Counters::default()
    };
    // This may be a container; that one says so.
    finder.lookup(DEMO);
    finder.lookup(&format!("/docker/{}", "5e".repeat(32)));
    assert_eq!(finder.counters(), expected);
    host.write(BUNDLE, "x");
    finder.lookup(DEMO);
    expected.malformed = 1;
    host.write(BUNDLE, " ".repeat((1 << 20) + 1));
    finder.lookup(DEMO);
    expected.too_large = 1;
    host.write(BUNDLE, GOOD);
    finder.lookup(DEMO);
    assert_eq!(finder.counters(), expected);
    for number in 0..100 {
        host.write(&BUNDLE.replace("default", &format!("n{number}")), "x");
    }
    finder.lookup(DEMO);
    assert!(finder.counters().cut_listings > 0);
    let mut finder = Finder::new(&host.root().join("none"));
    let refused = Lookup::Unreadable(Unreadable::Refused);
    assert_eq!(finder.lookup(DEMO), refused);
    assert_eq!(finder.counters().refused, 1);
}

#[test]
fn settings_that_cannot_be_used_are_named_in_the_log() {
    let host = Host::new(&[
        ("etc/docker/daemon.json", r#"{"data-root": "#),
        ("etc/containerd/config.toml", "state = 7"),
    ]);
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.reopen().unwrap())
        .finish();
    let finder = tracing::subscriber::with_default(subscriber, || host.finder());
    assert_eq!(finder.counters().settings, 2);
    let said = fs::read_to_string(log.path()).unwrap();
    for file in ["/etc/docker/daemon.json", "/etc/containerd/config.toml"] {
        let line = format!("{file} cannot be used (it cannot be parsed)");
        assert!(said.contains(&line), "{said}");
    }
    assert!(!said.contains("storage.conf"), "{said}");
}

#[test]
fn who_has_a_container_cannot_make_another_in_it() {
    let tasks = "run/containerd/io.containerd.runtime.v2.task";
    let bundle =
        r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"p"},"linux":{"cgroupsPath":"/x"}}"#;
    let host = Host::new(&[(&format!("{tasks}/k8s.io/{{id}}/config.json"), bundle)]);
    let found = host.lookup("/kubepods/pod{uid}/{id}");
    assert!(matches!(found, Lookup::Found(_)));
    for above in [
        "/docker/{other}",
        "/system.slice/docker-{other}.scope",
        "/libpod_parent/libpod-{other}",
    ] {
        for path in [
            "kubepods/pod{uid}/{id}",
            "kubepods.slice/kubepods-pod{u_id}.slice/cri-containerd-{id}.scope",
        ] {
            let path = format!("{above}/{path}");
            assert_eq!(host.lookup(&path), Lookup::NotNeeded, "{path}");
        }
    }
}

#[test]
fn who_has_a_unit_cannot_make_a_container_of_the_systems_in_it() {
    let storage = "var/lib/containers/storage/overlay-containers";
    let tasks = "run/containerd/io.containerd.runtime.v2.task";
    let bundle = r#"{"annotations":{"io.container.manager":"libpod"},
        "linux":{"cgroupsPath":"machine.slice:libpod:{id}"}}"#;
    let pod = r#"{"linux":{"cgroupsPath":"/kubepods/pod{uid}/{id}"}}"#;
    let host = Host::new(&[
        (
            &format!("{storage}/{{id}}/userdata/config.json"),
            &fill(bundle),
        ),
        (&format!("{tasks}/k8s.io/{{id}}/config.json"), &fill(pod)),
    ]);
    for path in [
        "/machine.slice/libpod-{id}.scope",
        "/kubepods/pod{uid}/{id}",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{u_id}.slice/cri-containerd-{id}.scope",
    ] {
        assert!(matches!(host.lookup(path), Lookup::Found(_)), "{path}");
    }
    let user = "/user.slice/user-4242.slice/user@4242.service";
    for path in [
        "/system.slice/web.service/libpod-payload-{id}",
        &format!("{user}/app.slice/web.service/libpod-payload-{{id}}"),
        &format!(
            "{user}/app.slice/containerd.service/kubepods-pod{{u_id}}.slice:cri-containerd:{{id}}"
        ),
        // By `ctr` with a hierarchy of its own.
        "/default/demo/kubepods/pod{uid}/{id}",
    ] {
        assert_eq!(host.lookup(path), Lookup::Absent, "{path}");
    }
    // Another root of the kubelet's: the bundle says so.
    let pod = r#"{"linux":{"cgroupsPath":"/foo/kubepods/pod{uid}/{id}"}}"#;
    let host = Host::new(&[(&format!("{tasks}/k8s.io/{{id}}/config.json"), &fill(pod))]);
    let found = host.lookup("/foo/kubepods/pod{uid}/{id}");
    assert!(matches!(found, Lookup::Found(_)));
}

/// JSON of the shape of a bundle, more or less.
fn document() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "annotations",
        "linux",
        "cgroupsPath",
        "nerdctl/name",
        "io.kubernetes.cri.container-name",
        "io.container.manager",
        "ID",
        "id",
        "cgroup_paths",
        "memory",
    ]);
    let word = prop_oneof![
        Just("/default/demo".to_owned()),
        Just("demo".to_owned()),
        Just("libpod".to_owned()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        word.prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        let object =
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner.clone(), 0..4);
        prop_oneof![
            3 => object.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..4).prop_map(serde_json::Value::from),
        ]
    });
    prop_oneof![
        3 => tree.prop_map(|tree| tree.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_content_yields_another_container(content in document()) {
        let host = Host::new(&[]);
        let storage = "var/lib/containers/storage/overlay-containers";
        for file in [
            BUNDLE,
            "run/runc/demo/state.json",
            "run/crun/demo/status",
            &format!("{storage}/{{id}}/userdata/config.json"),
            &format!("{storage}/containers.json"),
            "var/lib/docker/containers/{id}/config.v2.json",
        ] {
            host.write(file, &content);
        }
        for (path, id) in [
            (DEMO, "demo"),
            ("/docker/{id}", ID),
            ("/machine.slice/libpod-{id}.scope", ID),
            ("/kubepods/pod{uid}/{id}", ID),
        ] {
            if let Lookup::Found(names) = host.lookup(path) {
                prop_assert_eq!(names.container_id.as_deref(), Some(id));
                let uid = names.pod.as_ref().and_then(|pod| pod.uid.as_deref());
                prop_assert!(uid.is_none_or(|uid| uid == UID));
            }
        }
    }

    #[test]
    fn no_path_leads_out_of_the_place(path in "(/[a-z.:-]{0,6}|/\\.\\.|/default|/demo|\\PC{0,3}){0,6}") {
        let host = Host::new(&[(BUNDLE, GOOD), ("config.json", GOOD), ("run/config.json", GOOD)]);
        let found = host.lookup(&path);
        prop_assert_eq!(matches!(found, Lookup::Found(_)), path == DEMO, "{}", path);
    }
}
