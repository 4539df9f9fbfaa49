//! What `packaging/` holds, and what `cargo xtask dist` makes of it: a unit that systemd takes and finds well
//! confined, packages that install and go without a trace, images with nothing in them but the agent, which
//! tells a real kill.
//!
//! `cargo test -p oom-tests --test packaging`, as root.

#![cfg(not(target_env = "musl"))]

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::Launch,
    check,
    dist::{Dist, printed},
    machine::{self, Machine},
    runtime::{payload, podman::podman},
    scene,
};
use rustix::process::Signal;
use tempfile::TempDir;

/// What `systemd-analyze security` (systemd 252) finds: 0 is best, 10 worst. Most of what is left is what the
/// agent is for: BPF, the kernel log, other users' files.
const EXPOSURE: f32 = 2.2;

const IMAGE: &str = "localhost/oom-test/agent:1";

/// The unit, for a program that is there.
fn unit(dir: &TempDir) -> Result<PathBuf> {
    let agent = machine::agent_binary()?.to_str().context("path")?;
    let text = fs::read_to_string(machine::packaging("oom-agent.service"))?;
    ensure!(text.contains("/usr/local/bin/oom-agent "));
    let path = dir.path().join("oom-agent.service");
    fs::write(&path, text.replace("/usr/local/bin/oom-agent", agent))?;
    Ok(path)
}

#[test]
fn systemd_takes_the_unit() -> Result<()> {
    if !machine::has_program("systemd-analyze")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let unit = unit(&dir)?;
    let complaints = printed(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&unit),
    )?;
    let about_it: Vec<_> = complaints
        .lines()
        .filter(|it| it.contains("oom-agent"))
        .collect();
    ensure!(about_it.is_empty(), "{about_it:?}");

    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager"]);
    let found = printed(security.arg(&unit))?;
    let score = found
        .split("Overall exposure level for oom-agent.service: ")
        .nth(1);
    let score = score.and_then(|rest| rest.split_whitespace().next());
    let score: f32 = score.context("no score")?.parse()?;
    ensure!(score <= EXPOSURE, "{found}");
    Ok(())
}

/// Removes the image, and containers of it that are left.
struct Image<'a>(&'a str);

impl Drop for Image<'_> {
    fn drop(&mut self) {
        if let Err(error) = printed(podman().args(["rmi", "--force", self.0])) {
            eprintln!("left behind: {error:#}");
        }
    }
}

#[test]
fn a_container_of_the_agent_alone_tells_kills() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    if !machine::has_program("podman")? || !machine::has_program("runc")? {
        return Ok(());
    }
    let agent = match payload::agent()? {
        Ok(agent) => agent,
        Err(reason) => return machine::skip(&reason),
    };
    let dir = tempfile::tempdir()?;
    fs::copy(agent, dir.path().join("oom-agent"))?;
    let mut build = podman();
    build.args([
        "build",
        "--quiet",
        "--network",
        "none",
        "--tag",
        IMAGE,
        "--file",
    ]);
    printed(
        build
            .arg(machine::packaging("Containerfile"))
            .arg(dir.path()),
    )?;
    let _image = Image(IMAGE);

    // As in the Containerfile.
    let options = ["--privileged", "--volume=/dev/kmsg:/dev/kmsg"];
    tells_a_kill(&machine, IMAGE, &options)
}

/// Runs an image like that, with the test's socket, and makes a kill. Limits are those that any process may set.
fn tells_a_kill(machine: &Machine, image: &str, options: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = dir.path().join("run");
    fs::create_dir(&run)?;
    fs::set_permissions(&run, Permissions::from_mode(0o755))?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let name = run.join("notify");
    let ready = UnixDatagram::bind(&name)?;
    // The agent in the image may be another user.
    fs::set_permissions(&name, Permissions::from_mode(0o777))?;
    let mut command = podman();
    command.args(["run", "--rm", "--pid=host", "--cgroupns=host"]);
    command.args(["--network=none", "--pull=never", "--log-driver=none"]);
    command.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]);
    command.args(["--volume=/sys:/sys", "--volume=/:/host:ro,rslave"]);
    command.arg("--sdnotify=ignore").args(options);
    let run = run.to_str().context("path")?;
    let socket = name.to_str().context("path")?;
    command.args(["--volume", &format!("{run}:{run}")]);
    command.args(["--env", &format!("NOTIFY_SOCKET={socket}"), image]);
    let words: Result<Vec<String>> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| Ok(word.to_str().context("word")?.to_owned()))
        .collect();
    let agent = Launch::run(&["--host-root", "/host"])
        .program(&words?)
        .start_with(&ready, name.as_os_str())?;
    agent.watches_cgroups()?;

    let tier = agent.tier()?;
    ensure!(!tier.log_alone, "{tier:?}");
    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    check::death(&kill, &instance, &truth, tier.known)?;
    let finished = agent.stop(Signal::TERM)?;
    ensure!(finished.summary()?.get("unexplained")? == 0, "{finished:?}");
    finished.says(&["confined by", "landlock", "seccomp"])
}

/// What podman calls an image of `cargo xtask dist`.
const LOADED: &str = concat!("localhost/oom-agent:", env!("CARGO_PKG_VERSION"));

#[test]
fn the_image_of_a_release_tells_kills_and_is_not_root() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    if !machine::has_program("podman")? || !machine::has_program("runc")? {
        return Ok(());
    }
    let agent = match payload::agent()? {
        Ok(agent) => agent,
        Err(reason) => return machine::skip(&reason),
    };
    let dist = Dist::of(&agent)?;
    printed(
        podman()
            .args(["load", "--input"])
            .arg(dist.ending(".oci.tar")?),
    )?;
    let _image = Image(LOADED);
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let mut version = podman();
    version.args(["run", "--rm", "--network=none", "--log-driver=none"]);
    let version = printed(version.args(limits).args([LOADED, "--version"]))?;
    ensure!(version.starts_with("oom-agent "), "{version}");

    // Four capabilities, and a user without any other right.
    let options = [
        "--cap-add=BPF,PERFMON,SYSLOG,DAC_READ_SEARCH",
        "--security-opt=seccomp=unconfined",
        "--device=/dev/kmsg:/dev/kmsg:r",
    ];
    tells_a_kill(&machine, LOADED, &options)
}
