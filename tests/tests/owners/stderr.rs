//! An agent whose log nobody reads.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use oom_tests::{agent::is_instance, machine};
use rustix::{fs::OFlags, process::Signal};
use serde_json::json;

use crate::{comparing::AT_ONCE_NS, scene::Scene};

/// Nobody reads what the agent logs, and there is no room for more from the start.
#[test]
fn a_full_stderr_does_not_stop_detection() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let fifo = scene.root.path().join("stderr");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits())?;
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .custom_flags(nonblock)
        .open(&fifo)?;
    fill(&mut pipe)?;
    let redirect = format!("exec \"$0\" \"$@\" 2>{}", fifo.display());
    let program = machine::agent_binary()?.to_str().context("path")?;
    let words = ["sh", "-c", &redirect, program];
    let agent = scene
        .launch(&[])?
        .program(&words.map(str::to_owned))
        .start()?;
    scene.until_told(&agent)?;
    let bundle = scene.in_pod();
    bundle.write()?;
    let stories = [scene.kill(&bundle.named)?];
    let death = &stories[0].deaths[0];
    let (kill, instance) = agent.wait_for_death(death.victim.pid)?;
    let latency = kill["detection_latency_ns"].as_u64();
    ensure!(latency.is_some_and(|ns| ns < AT_ONCE_NS), "late: {kill:#}");
    ensure!(kill["owner"] == json!(death.container.owner), "{kill:#}");
    ensure!(is_instance(&instance));
    // Nor does it keep the agent from ending.
    let finished = agent.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "{:?}", finished.status);
    Ok(())
}

fn fill(pipe: &mut File) -> Result<()> {
    loop {
        match pipe.write(&[b'.'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
