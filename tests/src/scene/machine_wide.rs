//! Scenes that take the memory of the whole machine, or ask the kernel to kill as if it were gone.
//!
//! For test guests only: each begins with [`machine::only_in_a_guest`]. Emits [`Truth`].

use std::fs;

use anyhow::{Context as _, Result};
use oom_agent::{hierarchy::Hierarchy, trigger::scratch::Settings};

use super::{
    Actor, Birth, MIB, NoVictim, Truth,
    files::{Mounted, writer},
    one_kill, scratch,
};
use crate::{klog::KernelLog, machine};

/// More than a guest has, and as much as the hog accepts.
const NO_LIMIT: u64 = 1024 * MIB;

/// Whether the console shows every record of the log.
const IGNORE_LOGLEVEL: &str = "/sys/module/printk/parameters/ignore_loglevel";

/// The machine's memory ends, no cgroup's.
pub fn system(hierarchy: &Hierarchy) -> Result<Truth> {
    machine::only_in_a_guest()?;
    hog(hierarchy, b"glutton", 1000, "system")
}

/// With `vm.oom_kill_allocating_task`, who asks for memory dies, and not who has more to answer for.
pub fn kill_allocating_task(hierarchy: &Hierarchy) -> Result<Truth> {
    machine::only_in_a_guest()?;
    let cgroup = scratch(hierarchy, "", Some(NO_LIMIT))?;
    let mut big = Actor::start("holder", b"big", 1000, &cgroup, &["--bytes", "67108864"])?;
    big.must_say("held")?;
    let _switch = Switch::on("/proc/sys/vm/oom_kill_allocating_task", "1")?;
    hog(hierarchy, b"asker", 0, "system")
}

/// The one node that a cpuset allows is full.
pub fn cpuset(hierarchy: &Hierarchy) -> Result<Truth> {
    machine::only_in_a_guest()?;
    let control = hierarchy.mount.join("cgroup.subtree_control");
    fs::write(&control, "+cpuset").context("enable the cpuset controller")?;
    let cgroup = scratch(hierarchy, "", Some(NO_LIMIT))?;
    fs::write(cgroup.dir().join("cpuset.mems"), "1").context("cpuset.mems")?;
    let born = Birth::now();
    let mut hog = Actor::start("hog", b"one-node", 1000, &cgroup, &[])?;
    hog.killed()?;
    Ok(Truth {
        scope: "cpuset",
        anon_bytes: 16 * MIB..=NO_LIMIT,
        ..Truth::own(&hog, None, &born)
    })
}

/// The one node that a memory policy allows is full: that of a tmpfs, so that the policy needs no
/// system call of its own.
pub fn memory_policy(hierarchy: &Hierarchy) -> Result<Truth> {
    machine::only_in_a_guest()?;
    let cgroup = scratch(hierarchy, "", Some(NO_LIMIT))?;
    let files = Mounted::new("tmpfs", Some(c"mpol=bind:1,size=1g"))?;
    let born = Birth::now();
    let mut writer = writer(b"bound", &cgroup, files.path())?;
    writer.killed()?;
    Ok(Truth {
        scope: "mempolicy",
        allocation: Some("shmem"),
        anon_bytes: 0..=NO_LIMIT,
        ..Truth::own(&writer, None, &born)
    })
}

/// Three kills, one after the other.
pub fn some_kills(hierarchy: &Hierarchy) -> Result<Vec<Truth>> {
    (0..3).map(|_| one_kill(hierarchy)).collect()
}

/// The same while every record of the log goes to a serial console of 115,200 baud.
pub fn slow_console(hierarchy: &Hierarchy) -> Result<Vec<Truth>> {
    machine::only_in_a_guest()?;
    let _switch = Switch::on(IGNORE_LOGLEVEL, "Y")?;
    println!("\nconsole: slow");
    let truths = some_kills(hierarchy);
    println!("\nconsole: fast");
    truths
}

/// Somebody asks for a kill with sysrq-f.
pub fn sysrq(hierarchy: &Hierarchy) -> Result<Truth> {
    machine::only_in_a_guest()?;
    let cgroup = scratch(hierarchy, "", Some(64 * MIB))?;
    let born = Birth::now();
    let mut holder = Actor::start("holder", b"sysrq", 1000, &cgroup, &["--bytes", "8388608"])?;
    holder.must_say("held")?;
    ask()?;
    holder.killed()?;
    Ok(Truth {
        scope: "sysrq",
        trigger: None,
        anon_bytes: 7 * MIB..=10 * MIB,
        ..Truth::own(&holder, None, &born)
    })
}

/// The same where every process is exempt.
pub fn sysrq_without_victim(_: &Hierarchy) -> Result<NoVictim> {
    machine::only_in_a_guest()?;
    let mut log = KernelLog::from_now()?;
    ask()?;
    NoVictim::logged("sysrq", &mut log)
}

/// The request is carried out by a kernel thread, later.
fn ask() -> Result<()> {
    fs::write("/proc/sysrq-trigger", "f").context("/proc/sysrq-trigger")
}

fn hog(
    hierarchy: &Hierarchy,
    comm: &[u8],
    oom_score_adj: i16,
    scope: &'static str,
) -> Result<Truth> {
    let above = scratch(hierarchy, "", Some(NO_LIMIT))?;
    // Without a limit of its own it is not recorded: it must be found all the same.
    let cgroup = above.child("service", Settings::default())?;
    let born = Birth::now();
    let mut hog = Actor::start("hog", comm, oom_score_adj, &cgroup, &[])?;
    hog.killed()?;
    Ok(Truth {
        scope,
        anon_bytes: 64 * MIB..=NO_LIMIT,
        ..Truth::own(&hog, None, &born)
    })
}

/// A setting of the kernel, put back when dropped.
struct Switch {
    path: &'static str,
    before: String,
}

impl Switch {
    fn on(path: &'static str, value: &str) -> Result<Self> {
        let before = fs::read_to_string(path).context(path)?;
        fs::write(path, value).context(path)?;
        Ok(Self { path, before })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // It was writable a moment ago.
        let _ = fs::write(self.path, &self.before);
    }
}
