//! The file system of a container: one static program, as a directory and as an image.
//!
//! Emits an archive in the form that `docker save` writes, which `ctr images import` and `podman load` take.
//! Refuses nothing.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// Where the program is.
pub(super) const PROGRAM: &str = "/payload";

/// Where runtimes mount something.
const MOUNT_POINTS: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// Makes the file system below an empty directory.
pub(super) fn unpack(program: &Path, root: &Path) -> Result<()> {
    for dir in MOUNT_POINTS {
        fs::create_dir(root.join(dir))?;
    }
    let copy = root.join(PROGRAM.trim_start_matches('/'));
    fs::copy(program, &copy).context("copy the payload")?;
    Ok(fs::set_permissions(
        &copy,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// Writes an image of that name whose main process is the program with this argument.
pub(super) fn archive(program: &Path, name: &str, argument: &str, to: &Path) -> Result<()> {
    let layer = layer(&fs::read(program)?)?;
    let config = config(&layer, argument);
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [name],
        "Layers": ["layer.tar"],
    }]);
    let mut archive = Builder::new(File::create(to)?);
    add(&mut archive, "layer.tar", 0o644, &layer)?;
    add(&mut archive, &config_name, 0o644, config.as_bytes())?;
    let manifest = manifest.to_string();
    add(&mut archive, "manifest.json", 0o644, manifest.as_bytes())?;
    Ok(archive.finish()?)
}

fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for dir in MOUNT_POINTS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        layer.append_data(&mut header, format!("{dir}/"), [].as_slice())?;
    }
    add(&mut layer, PROGRAM.trim_start_matches('/'), 0o755, program)?;
    Ok(layer.into_inner()?)
}

fn add<W: std::io::Write>(to: &mut Builder<W>, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len().try_into()?);
    header.set_mode(mode);
    Ok(to.append_data(&mut header, name, bytes)?)
}

fn config(layer: &[u8], argument: &str) -> String {
    let architecture = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config: Value = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": [PROGRAM], "Cmd": [argument] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))] },
    });
    config.to_string()
}

/// As image formats write a digest.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
