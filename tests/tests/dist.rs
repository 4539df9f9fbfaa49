//! The files of a release: the same each time, each with its sum, and a package that is as Debian wants it.
//!
//! `cargo test -p oom-tests --test dist`. That the image works: `packaging.rs`; that the package does, under
//! systemd: `cargo xtask vm --deb`.

#![cfg(not(target_env = "musl"))]

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    dist::{Dist, printed},
    machine,
    runtime::payload,
};
use serde_json::Value;

#[test]
fn a_release_is_whole_and_the_same_each_time() -> Result<()> {
    let agent = match payload::agent()? {
        Ok(agent) => agent,
        Err(reason) => return machine::skip(&reason),
    };
    let (dist, again) = (Dist::of(&agent)?, Dist::of(&agent)?);
    let sums = fs::read_to_string(dist.file("SHA256SUMS"))?;
    ensure!(sums == fs::read_to_string(again.file("SHA256SUMS"))?);
    let mut check = Command::new("sha256sum");
    printed(
        check
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(dist.file("")),
    )?;

    let bom: Value = serde_json::from_slice(&fs::read(dist.ending(".cdx.json")?)?)?;
    let components = bom["components"].as_array().context("components")?;
    ensure!(components.len() > 100, "{} components", components.len());
    for component in components {
        let ours = component["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("oom-"));
        let crates = component["purl"]
            .as_str()
            .is_some_and(|purl| purl.starts_with("pkg:cargo/"));
        ensure!(
            ours || !crates || component["hashes"][0]["content"].is_string(),
            "{component}"
        );
        ensure!(
            component["licenses"][0]["expression"].is_string(),
            "{component}"
        );
    }
    for name in [
        "oom-ebpf",
        "aya-ebpf",
        "async-nats",
        "rust-std",
        "musl",
        "sqlite",
    ] {
        let is_told = components.iter().any(|it| it["name"] == name);
        ensure!(is_told, "no {name}");
    }
    a_package(&dist.ending(".deb")?)
}

/// As Debian's own tools find it.
fn a_package(deb: &Path) -> Result<()> {
    if !machine::has_program("lintian")? {
        return Ok(());
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on=error,warning"]);
    printed(lintian.arg(deb))?;
    without_systemd(deb)
}

/// Into a directory, where nothing can be started, and out of it without a trace.
fn without_systemd(deb: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return machine::skip("not root: packages have owners");
    }
    let root = tempfile::tempdir()?;
    for dir in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "etc",
        "var/log",
    ] {
        fs::create_dir_all(root.path().join(dir))?;
    }
    for file in ["var/lib/dpkg/status", "etc/passwd", "etc/group"] {
        fs::write(root.path().join(file), "")?;
    }
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.path().display()));
        dpkg.args(["--force-script-chrootless", "--force-depends"]);
        dpkg
    };
    let at = |path: &str| root.path().join(path);
    let wanted = at("etc/systemd/system/multi-user.target.wants/oom-agent.service");
    printed(dpkg().arg("--install").arg(deb))?;
    ensure!(wanted.is_symlink(), "not enabled");
    let users = fs::read_to_string(at("etc/passwd"))?;
    ensure!(users.contains("oom-agent:"), "no user: {users}");
    let changed = printed(dpkg().args(["--verify", "oom-agent"]))?;
    ensure!(changed.is_empty(), "{changed}");

    fs::create_dir_all(at("var/lib/oom-agent"))?;
    fs::write(at("var/lib/oom-agent/events.db"), "")?;
    printed(dpkg().args(["--remove", "oom-agent"]))?;
    ensure!(at("var/lib/oom-agent/events.db").exists());
    ensure!(at("etc/default/oom-agent").exists() && !at("usr/bin/oom-agent").exists());
    printed(dpkg().args(["--purge", "oom-agent"]))?;
    let left = printed(
        Command::new("find")
            .arg(root.path())
            .args(["-name", "*oom-agent*"]),
    )?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
