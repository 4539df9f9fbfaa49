//! Bundles that no runtime writes, and one that may not be read: they cost their container's name, and nothing else.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use oom_tests::{machine, runtime::bundle::Bundle};

use crate::{
    comparing::{to_the_end, told},
    scene::Scene,
};

/// Puts something at the path of a bundle.
type Hostile = fn(&Bundle, &Path) -> Result<()>;

const HOSTILE: &[(&str, Hostile)] = &[
    ("a FIFO", |bundle, _| {
        Ok(mkfifo(&bundle.file, Mode::from_bits_truncate(0o600))?)
    }),
    ("a link out of its place", |bundle, root| {
        let elsewhere = root.join("elsewhere.json");
        fs::write(&elsewhere, bundle.content.to_string())?;
        Ok(symlink(elsewhere, &bundle.file)?)
    }),
    ("100 MB of [", |bundle, _| brackets(&bundle.file, 100)),
    ("1 MB of [, which may be read", |bundle, _| {
        brackets(&bundle.file, 1)
    }),
    ("a directory", |bundle, _| Ok(fs::create_dir(&bundle.file)?)),
    ("no UTF-8", |bundle, _| {
        let mut text = bundle.content.to_string().into_bytes();
        let at = text
            .windows(3)
            .position(|word| word == b"app")
            .context("app")?;
        text[at] = 0xff;
        Ok(fs::write(&bundle.file, text)?)
    }),
    ("a file that speaks of another pod", |bundle, root| {
        let other = Bundle::in_pod(root);
        Ok(fs::write(&bundle.file, other.content.to_string())?)
    }),
];

fn brackets(file: &Path, megabytes: usize) -> Result<()> {
    let mut file = File::create(file)?;
    let piece = vec![b'['; 1 << 20];
    for _ in 0..megabytes {
        file.write_all(&piece)?;
    }
    Ok(())
}

fn hostile(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching(watch)?;
    let mut stories = Vec::new();
    for (what, put) in HOSTILE {
        let bundle = scene.in_pod();
        bundle.dir()?;
        put(&bundle, scene.root.path()).context(*what)?;
        stories.push(scene.kill(&bundle.bare).context(*what)?);
        bundle.remove()?;
    }
    // It has lived through that.
    let good = scene.in_pod();
    good.write()?;
    stories.push(scene.kill(&good.named)?);
    let finished = to_the_end(agent, &stories)?;
    let hostile = i64::try_from(HOSTILE.len())?;
    told(&finished, &stories, hostile)?;
    let unreadable = finished.summary()?.get("unreadable_bundles")?;
    ensure!(unreadable == hostile, "{:?}", finished.log);
    Ok(())
}

#[test]
fn hostile_bundles_with_bpf() -> Result<()> {
    hostile("auto")
}

#[test]
fn hostile_bundles_with_inotify() -> Result<()> {
    hostile("inotify")
}

#[test]
fn a_bundle_that_may_not_be_read() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return machine::skip("needs setpriv (util-linux)");
    }
    let agent = machine::agent_binary()?.to_str().context("path")?;
    // Root, but nobody's files are open to it that way.
    let words = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--",
        agent,
    ];
    let agent = scene
        .launch(&[])?
        .program(&words.map(str::to_owned))
        .start()?;
    scene.until_it_sees(&agent)?;
    let bundle = scene.in_pod();
    bundle.write()?;
    fs::set_permissions(&bundle.file, Permissions::from_mode(0o0))?;
    let stories = [scene.kill(&bundle.bare)?];
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 1)?;
    ensure!(finished.summary()?.get("unreadable_bundles")? == 1);
    Ok(())
}
