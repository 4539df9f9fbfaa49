//! What the agent may still do once it is armed, as the kernel says and as it tries.
//!
//! `cargo test -p oom-tests --test confine`, as root. What is tried is tried by a child of this test that has
//! confined itself by the agent's own code. That confined agents tell kills as they should, all other
//! scenarios show.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::{
        net::{UnixDatagram, UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    clock::Now,
    confine::{Confinement, Feature, GUARDS, Guard, Options, Protection, State, WANTED_SCORE},
    source::kmsg::{self, KMSG, KmsgReader, Position},
    store::{Batch, Store},
};
use oom_tests::{
    agent::{Agent, DEADLINE, Launch},
    check,
    machine::{self, Machine},
    scene,
    told::{BOOT, Kills, host, long_report, run},
};
use rustix::{
    io::{Errno, ReadWriteFlags},
    process::{Resource, getrlimit},
    thread::CapabilitySet,
};
use serde_json::Value;

/// The most that an agent keeps where no limit spares it a capability.
const MOST: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::IPC_LOCK);

/// The directory that the child may write to, and that it is the child.
const CHILD: &str = "OOM_TESTS_CONFINED";

/// One thread, as `/proc` shows it.
struct Thread {
    comm: String,
    status: BTreeMap<String, String>,
}

impl Thread {
    fn read(dir: &Path) -> io::Result<Self> {
        let status = fs::read_to_string(dir.join("status"))?;
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        Ok(Self {
            comm: fs::read_to_string(dir.join("comm"))?.trim().to_owned(),
            status: fields
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        })
    }

    fn field(&self, name: &str) -> Result<&str> {
        let value = self.status.get(name);
        value
            .map(String::as_str)
            .with_context(|| format!("no {name} of {}", self.comm))
    }

    fn capabilities(&self, set: &str) -> Result<CapabilitySet> {
        let bits = u64::from_str_radix(self.field(set)?, 16)?;
        Ok(CapabilitySet::from_bits_retain(bits))
    }
}

/// All threads of an armed agent, once those that only arm it have ended.
fn threads(agent: &Agent) -> Result<Vec<Thread>> {
    agent.watches_cgroups()?;
    let end = Instant::now() + DEADLINE;
    loop {
        let entries = fs::read_dir(format!("/proc/{}/task", agent.pid()))?;
        let all: io::Result<Vec<_>> = entries.map(|it| Thread::read(&it?.path())).collect();
        match all {
            Ok(all)
                if all
                    .iter()
                    .all(|it| !matches!(it.comm.as_str(), "kallsyms" | "attach")) =>
            {
                return Ok(all);
            }
            _ => ensure!(
                Instant::now() < end,
                "a thread that arms the agent does not end"
            ),
        }
    }
}

fn armed(args: &[&str]) -> Result<Option<(Machine, Agent)>> {
    let Some(machine) = Machine::alone()? else {
        return Ok(None);
    };
    let agent = Launch::run(args).start()?;
    Ok(Some((machine, agent)))
}

#[test]
fn every_thread_keeps_only_what_is_needed() -> Result<()> {
    for args in [
        &["--debug-bpf"][..],
        &["--cgroup-watch", "inotify"],
        &["--source", "kmsg"],
    ] {
        let Some((machine, agent)) = armed(args)? else {
            return Ok(());
        };
        let threads = threads(&agent)?;
        ensure!(threads.len() >= 5, "{} threads", threads.len());
        for thread in &threads {
            let most = match thread.comm.as_str() {
                "stderr" | "bpf-debug" => CapabilitySet::empty(),
                _ if args.contains(&"kmsg") => MOST - CapabilitySet::BPF - CapabilitySet::PERFMON,
                _ => MOST,
            };
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                let has = thread.capabilities(set)?;
                ensure!(
                    most.contains(has),
                    "{args:?}: {} of {} is {has:?}",
                    set,
                    thread.comm
                );
            }
            for set in ["CapInh", "CapAmb"] {
                ensure!(
                    thread.capabilities(set)?.is_empty(),
                    "{set} of {}",
                    thread.comm
                );
            }
            ensure!(thread.field("NoNewPrivs")? == "1", "{}", thread.comm);
            ensure!(thread.field("Seccomp")? == "2", "{}", thread.comm);
        }
        let truth = scene::one_kill(&machine.hierarchy)?;
        let tier = agent.tier()?;
        let (kill, instance) = agent.wait_for_death(truth.tid)?;
        check::death(&kill, &instance, &truth, tier.known)?;
    }
    Ok(())
}

#[test]
fn protections_can_be_left_out() -> Result<()> {
    let all = GUARDS.map(|guard| guard.to_string()).join(",");
    let Some((_machine, agent)) = armed(&["--without", &all])? else {
        return Ok(());
    };
    for thread in threads(&agent)? {
        ensure!(thread.field("NoNewPrivs")? == "0", "{}", thread.comm);
        ensure!(thread.field("Seccomp")? == "0", "{}", thread.comm);
        let has = thread.capabilities("CapEff")?;
        ensure!(has.contains(CapabilitySet::SYS_ADMIN), "{}", thread.comm);
    }
    Ok(())
}

/// What the agent says of its memory and of its score, and what the kernel says.
struct Claims {
    memory_lock: Value,
    oom_score: Value,
    locked_kib: u64,
    oom_score_adj: i16,
}

impl Claims {
    /// Of an armed agent that is asked there: once it has done with its memory what it does.
    fn of(agent: &Agent, socket: &str) -> Result<Self> {
        let end = Instant::now() + DEADLINE;
        let protections = loop {
            let status = Command::new(machine::agent_binary()?)
                .args(["status", "--socket", socket, "--output", "json"])
                .output()?;
            let status: Value =
                serde_json::from_slice(&status.stdout).with_context(|| format!("{status:?}"))?;
            let protections = status["protections"].clone();
            if state(&protections, Guard::MemoryLock)? != "later" {
                break protections;
            }
            ensure!(Instant::now() < end, "{protections}");
        };
        let process = PathBuf::from(format!("/proc/{}", agent.pid()));
        let locked = Thread::read(&process)?;
        let locked = locked.field("VmLck")?.trim_end_matches(" kB");
        let oom_score_adj = fs::read_to_string(process.join("oom_score_adj"))?;
        Ok(Self {
            memory_lock: state(&protections, Guard::MemoryLock)?,
            oom_score: state(&protections, Guard::OomScore)?,
            locked_kib: locked.parse()?,
            oom_score_adj: oom_score_adj.trim().parse()?,
        })
    }
}

fn state(protections: &Value, guard: Guard) -> Result<Value> {
    let all = protections.as_array().context("protections")?;
    let name = guard.to_string();
    let of = all.iter().find(|it| it["name"] == *name);
    Ok(of.with_context(|| name)?["state"].clone())
}

#[test]
fn its_memory_and_its_score_are_as_it_says() -> Result<()> {
    let own = fs::read_to_string("/proc/self/oom_score_adj")?;
    let own: i16 = own.trim().parse()?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("api.sock");
    let socket = socket.to_str().context("socket")?;
    for without in [&[][..], &["--without", "memory-lock,oom-score"]] {
        let Some((_machine, agent)) = armed(&[&["--socket", socket], without].concat())? else {
            return Ok(());
        };
        threads(&agent)?;
        let Claims {
            memory_lock,
            oom_score,
            locked_kib,
            oom_score_adj,
        } = Claims::of(&agent, socket)?;
        println!("{memory_lock}: {locked_kib} KiB; {oom_score}: {oom_score_adj}");
        ensure!((memory_lock == "on") == without.is_empty(), "{memory_lock}");
        ensure!(
            (memory_lock == "on") == (locked_kib > 0),
            "{locked_kib} KiB"
        );
        if oom_score == "on" {
            ensure!(without.is_empty() && oom_score_adj <= WANTED_SCORE);
        } else {
            // As it was started.
            ensure!(oom_score_adj == own, "{oom_score_adj}, not {own}");
            let why = oom_score["off"].as_str().context("no reason")?;
            let refused = why.contains("oom_score_adj cannot be -900");
            ensure!(refused == without.is_empty(), "{why}");
        }
    }
    Ok(())
}

#[test]
fn a_protection_that_there_is_not_is_a_wrong_argument() -> Result<()> {
    let finished = Launch::run(&["--without", "seccomp,chroot"]).finish()?;
    ensure!(finished.status.code() == Some(2), "{finished:?}");
    finished.says(&["chroot"])
}

#[test]
fn what_is_given_up_is_refused() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("own"))?;
    fs::write(dir.path().join("outside"), "not to be changed")?;
    run_child("the_child", dir.path())?;
    ensure!(fs::read(dir.path().join("outside"))? == b"not to be changed");
    ensure!(fs::read(dir.path().join("own/file"))? == b"allowed");
    Ok(())
}

/// What takes more than its memory a database writes to files, and these must all be its own: in any other
/// place they are refused.
#[test]
fn a_large_transaction_is_stored() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("own"))?;
    run_child("the_child_that_stores", dir.path())
}

/// One that connects to others reaches the network, and nobody on this machine by a local socket.
#[test]
fn a_client_has_the_network_alone() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    run_child("the_child_that_connects", tempfile::tempdir()?.path())
}

#[test]
#[ignore = "started by another test"]
fn the_child_that_connects() -> Result<()> {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return Ok(());
    };
    let (listener, udp) = (
        TcpListener::bind("127.0.0.1:0")?,
        UdpSocket::bind("127.0.0.1:0")?,
    );
    let local = dir.join("socket");
    let _local = UnixListener::bind(&local)?;
    let confinement = Confinement::begin(&Options {
        without: Vec::new(),
        oom_score_adj: 0,
    });
    let features = [Feature::Client];
    confinement.threads(&features, &[]);
    confinement.system_calls(&features);

    let port = listener.local_addr()?.port();
    let found: Vec<_> = ("localhost", port).to_socket_addrs()?.collect();
    ensure!(found.iter().any(SocketAddr::is_ipv4), "{found:?}");
    let stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let own = UdpSocket::bind("127.0.0.1:0")?;
    own.send_to(b"?", udp.local_addr()?)?;
    ensure!(udp.recv(&mut [0; 8])? == 1);

    let refused = |what: &str, error: Option<io::Error>| {
        let errno = error.as_ref().and_then(io::Error::raw_os_error);
        ensure!(errno == Some(nix::libc::EPERM), "{what}: {error:?}");
        Ok(())
    };
    refused("listening", TcpListener::bind("127.0.0.1:0").err())?;
    refused("a local stream", UnixStream::connect(&local).err())?;
    refused("a local datagram", UnixDatagram::unbound().err())?;
    refused("accepting", listener.accept().err())
}

/// Runs a test that confines its process.
fn run_child(name: &str, dir: &Path) -> Result<()> {
    let output = Command::new(env::current_exe()?)
        .args(["--ignored", "--exact", name, "--nocapture"])
        .env(CHILD, dir)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
#[ignore = "started by another test"]
fn the_child_that_stores() -> Result<()> {
    /// Dozens of times what a database holds in memory here.
    const REPORTS: u64 = 32;
    /// The most that the agent keeps.
    const ROWS: usize = 8192;
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return Ok(());
    };
    let own = dir.join("own");
    let features = [Feature::Store];
    let confinement = Confinement::begin(&Options {
        without: Vec::new(),
        oom_score_adj: 0,
    });
    confinement.threads(&features, &[&own]);
    confinement.system_calls(&features);

    let kills = Kills::new()?;
    let now = Now::read();
    let mut store = Store::open(&own.join("events.db"), BOOT, 10)?;
    store.begin_run(&run(), &host(), &now)?;
    let mut batch = Batch::default();
    // Shared: the memory of one report.
    batch.extend((0..REPORTS).map(|n| long_report(&kills, n, ROWS)));
    let committed = store.commit(&batch, &now)?;
    ensure!(committed.events == REPORTS, "{committed:?}");
    store.end_run(&now)?;
    let size = fs::metadata(own.join("events.db"))?.len();
    ensure!(size > 32 << 20, "{size} bytes");
    Ok(())
}

/// A pipe still takes an alert at once: without that each waits for a thread, which is slow where CPUs are busy.
fn at_once() -> Result<()> {
    let (_reader, writer) = rustix::pipe::pipe()?;
    let alert = [io::IoSlice::new(b"alert")];
    match rustix::io::pwritev2(&writer, &alert, u64::MAX, ReadWriteFlags::NOWAIT) {
        // Pipes cannot be asked before Linux 6.4.
        Ok(5) | Err(Errno::OPNOTSUPP) => Ok(()),
        other => anyhow::bail!("writing at once: {other:?}"),
    }
}

#[test]
#[ignore = "started by another test"]
fn the_child() -> Result<()> {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return Ok(());
    };
    let own = dir.join("own");
    let confinement = Confinement::begin(&Options {
        without: Vec::new(),
        oom_score_adj: 0,
    });
    let features = [Feature::Log, Feature::Store];
    confinement.threads(&features, &[&own]);
    confinement.system_calls(&features);
    let on = |guard: Guard| confinement.protections()[guard as usize].state == State::On;
    let protections: Vec<Protection> = confinement.protections();
    for guard in [Guard::NoNewPrivs, Guard::Capabilities, Guard::Seccomp] {
        ensure!(on(guard), "{protections:?}");
    }

    // What is left: the log can be opened again, own files written, threads started.
    KmsgReader::open(Path::new(KMSG), Position::End, kmsg::Options::default())?;
    fs::write(own.join("file"), "allowed")?;
    ensure!(std::thread::spawn(|| 1).join().is_ok_and(|one| one == 1));
    ensure!(fs::read("/proc/1/stat").is_ok());
    at_once()?;

    let refused = |what: &str, error: Option<io::Error>| {
        let errno = error.as_ref().and_then(io::Error::raw_os_error);
        let known = [nix::libc::EPERM, nix::libc::EACCES];
        ensure!(
            errno.is_some_and(|it| known.contains(&it)),
            "{what}: {error:?}"
        );
        Ok(())
    };
    refused("execve", Some(Command::new("/bin/true").exec()))?;
    refused("fork", Command::new("/bin/true").spawn().err())?;
    refused(
        "ptrace",
        nix::sys::ptrace::attach(nix::unistd::getppid())
            .err()
            .map(Into::into),
    )?;
    refused("a socket", TcpListener::bind("127.0.0.1:0").err())?;
    refused("a unix socket", UnixDatagram::unbound().err())?;
    refused(
        "a signal",
        nix::sys::signal::kill(nix::unistd::getppid(), None)
            .err()
            .map(Into::into),
    )?;
    let more = rustix::process::Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let limit = rustix::process::setrlimit(Resource::Core, more);
    refused("a limit", limit.err().map(Into::into))?;
    if on(Guard::Landlock) {
        refused("writing", fs::write(dir.join("outside"), "changed").err())?;
        refused("making", fs::write(dir.join("new"), "").err())?;
        refused("removing", fs::remove_file(dir.join("outside")).err())?;
        refused("a directory", fs::create_dir(dir.join("new")).err())?;
        refused(
            "moving out",
            fs::rename(own.join("file"), dir.join("file")).err(),
        )?;
    } else {
        machine::say_skipped("this kernel has no Landlock");
    }
    Ok(())
}
