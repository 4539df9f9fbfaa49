//! `cargo xtask dist`: everything that a release is made of.
//!
//! Builds static programs (`cross.rs`); emits into one directory the programs, packages for Debian, an image,
//! the chart, rules and manifests, a bill of materials for each program, the licences of what is in them, and
//! `SHA256SUMS`. The same source makes the same bytes: all is dated by the commit, or by `SOURCE_DATE_EPOCH`.
//! Refuses a crate without a licence text, and a chart of another version.

mod besides;
mod binary;
mod crates;
pub(crate) mod deb;
mod licences;
pub(crate) mod manual;
mod oci;
mod sbom;
mod tree;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;

use self::{
    deb::Deb,
    manual::Manual,
    oci::{Image, Platform},
    sbom::Subject,
    tree::{Tree, gzip, sha256},
};
use crate::{arch::Arch, project, tool};

pub(crate) use self::binary::Binary;

/// The version of the workspace, which this program shares.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Binaries, packages, image, chart, bills of materials, licences and checksums of a release.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For which machines; may be given again.
    #[arg(long, value_enum, default_values = ["x86_64", "aarch64"])]
    target: Vec<Arch>,
    /// With which of cargo's profiles: release, guest, dev.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Not to build, but to package this program, which is for the one target.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where to; what another run has left there is removed. Default: target/dist.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let mut targets = args.target.clone();
    targets.sort_by_key(|arch| arch.name());
    targets.dedup();
    let binaries: Vec<Binary> = match (&args.program, targets.as_slice()) {
        (None, all) => all
            .iter()
            .map(|&arch| Binary::build(arch, &args.profile))
            .collect::<Result<_>>()?,
        (Some(program), &[arch]) => vec![Binary::built(arch, program.clone())?],
        (Some(_), _) => bail!("--program is for one --target"),
    };
    let files = release(&binaries, epoch()?)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| project::target().join("dist"));
    write(&out, &files)?;
    for (name, file) in &files {
        println!("{:>9} KiB  {name}", file.bytes.len().div_ceil(1024));
    }
    println!("dist: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// A file of the release.
struct File {
    mode: u32,
    bytes: Vec<u8>,
}

type Files = BTreeMap<String, File>;

/// Every file by its name.
fn release(binaries: &[Binary], mtime: u64) -> Result<Files> {
    let manual = Manual::of(&binary::that_runs_here(binaries)?)?;
    let time = rfc3339(mtime)?;
    let mut files = Files::new();
    let mut file = |name: String, bytes: Vec<u8>| {
        files.insert(name, File { mode: 0o644, bytes });
    };
    let mut of_all = BTreeMap::new();
    for binary in binaries {
        let arch = binary.arch;
        let crates = crates::linked(&arch.target())?;
        let licences = licences::texts(&crates)?;
        let besides = besides::linked(&arch.target(), &crates)?;
        let subject = Subject {
            version: VERSION,
            target: &arch.target(),
            sha256: &sha256(&binary.bytes),
            time: &time,
        };
        let name = program_name(arch);
        file(
            format!("{name}.cdx.json"),
            sbom::document(&subject, &crates, &besides)?,
        );
        let deb = Deb {
            version: &format!("{VERSION}-1"),
            arch: arch.debian(),
            binary: &binary.bytes,
            manual: &manual,
            licences: &licences,
            mtime,
        };
        file(deb.name(), deb.bytes()?);
        of_all.extend(
            crates
                .into_iter()
                .map(|of| ((of.name.clone(), of.version.clone()), of)),
        );
    }
    let of_all: Vec<_> = of_all.into_values().collect();
    file(
        "THIRD-PARTY-LICENSES".to_owned(),
        licences::texts(&of_all)?.into_bytes(),
    );

    let image = Image {
        version: VERSION,
        time: &time,
        mtime,
    };
    let platforms: Vec<_> = binaries
        .iter()
        .map(|of| Platform {
            arch: of.arch.debian(),
            binary: &of.bytes,
        })
        .collect();
    file(
        format!("oom-agent-{VERSION}.oci.tar"),
        image.archive(&platforms)?,
    );
    file(format!("oom-agent-chart-{VERSION}.tgz"), chart(mtime)?);
    for (name, from) in [
        ("kubernetes.yaml", "packaging/kubernetes/oom-agent.yaml"),
        ("prometheus-rules.yml", "packaging/prometheus/rules.yml"),
        ("grafana-dashboard.json", "packaging/grafana/oom-agent.json"),
    ] {
        let bytes = fs::read(project::root().join(from)).with_context(|| from)?;
        file(format!("oom-agent-{name}"), bytes);
    }
    for binary in binaries {
        let bytes = binary.bytes.clone();
        files.insert(program_name(binary.arch), File { mode: 0o755, bytes });
    }
    let sums = files
        .iter()
        .map(|(name, file)| format!("{}  {name}\n", sha256(&file.bytes)));
    let bytes = sums.collect::<String>().into_bytes();
    files.insert("SHA256SUMS".to_owned(), File { mode: 0o644, bytes });
    Ok(files)
}

fn program_name(arch: Arch) -> String {
    format!("oom-agent-{VERSION}-{}", arch.name())
}

/// As `helm package` makes it.
fn chart(mtime: u64) -> Result<Vec<u8>> {
    let dir = project::root().join("packaging/helm/oom-agent");
    let about = fs::read_to_string(dir.join("Chart.yaml"))?;
    for line in [
        format!("version: {VERSION}"),
        format!("appVersion: {VERSION}"),
    ] {
        ensure!(
            about.lines().any(|it| it == line),
            "Chart.yaml has no `{line}`"
        );
    }
    let mut tree = Tree::default();
    tree.copy(&dir, "oom-agent")?;
    gzip(&tree.tar("", mtime)?)
}

/// When the source was made, in seconds since 1970 (reproducible-builds.org/specs/source-date-epoch).
pub(crate) fn epoch() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => tool::output(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(project::root()),
        )
        .context("no commit to date the release by: set SOURCE_DATE_EPOCH")?,
    };
    text.parse().with_context(|| format!("not seconds: {text}"))
}

fn rfc3339(seconds: u64) -> Result<String> {
    Ok(Timestamp::from_second(i64::try_from(seconds)?)?.to_string())
}

/// Puts the files there, instead of those of an older run.
fn write(out: &Path, files: &Files) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(out)?;
    let mut old = Vec::new();
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with("oom-agent") || files.contains_key(name.as_ref());
        ensure!(
            ours && entry.file_type()?.is_file(),
            "{} is not of a release: {name}",
            out.display()
        );
        old.push(entry.path());
    }
    // Not one of them before each is known.
    for path in old {
        fs::remove_file(path)?;
    }
    for (name, file) in files {
        let path = out.join(name);
        fs::write(&path, &file.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_no_release_keeps_all_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["oom-agent-0", "oom-agent-1", "thesis.txt"];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let file = File {
            mode: 0o644,
            bytes: Vec::new(),
        };
        let files = Files::from([("SHA256SUMS".to_owned(), file)]);
        assert!(write(dir.path(), &files).is_err());
        assert!(names.iter().all(|name| dir.path().join(name).is_file()));

        fs::remove_file(dir.path().join("thesis.txt")).unwrap();
        write(dir.path(), &files).unwrap();
        let there: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(there.len(), 1);
        assert!(dir.path().join("SHA256SUMS").is_file());
    }
}
