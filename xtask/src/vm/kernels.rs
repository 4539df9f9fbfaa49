//! Kernels to boot: Debian's, from the mirror that this machine's apt is set up with, or any file.
//!
//! Takes a path, or a series (`6.12`, `7`) or version (`5.10.223`) with what it is for (`6.12-arm64`); emits the
//! path of a kernel image, kept with its sha256. Uses lists of its own: the machine's apt stays as it is. Refuses
//! a kept image that no longer has its sum.

use std::{
    fmt::Write as _,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::arch::Arch;

/// Suites of the main archive and of the security archive that hold kernels from 5.10 to today's.
const SUITES: &[&str] = &["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: &[&str] = &["bullseye-security", "bookworm-security", "trixie-security"];

/// What a kernel is for: as it is asked for behind the version, and as Debian calls it.
const FLAVOURS: [(&str, &str, Arch); 3] = [
    ("-arm64-16k", "arm64-16k", Arch::Arm),
    ("-arm64", "cloud-arm64", Arch::Arm),
    ("", "cloud-amd64", Arch::X86),
];

/// A kernel to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The machines that it is for.
    pub(crate) arch: Arch,
    /// Its image.
    pub(crate) image: PathBuf,
    /// Its version, or the name of its file.
    pub(crate) version: String,
}

/// A kernel on the command line, before anything is built for it.
pub(crate) fn asked_for(wanted: &str) -> Result<String> {
    if !Path::new(wanted).is_file() {
        parsed(wanted)?;
    }
    Ok(wanted.to_owned())
}

/// This kernel, downloaded if it is not there yet.
pub(crate) fn resolve(wanted: &str, cache: &Path) -> Result<Kernel> {
    let path = Path::new(wanted);
    if path.is_file() {
        return from_file(path, cache);
    }
    let (series, flavour, arch) = parsed(wanted)?;
    let kept = cache.join("kernels").join(wanted);
    let image = kept.join("vmlinuz");
    if !image.exists() {
        fetch(series, flavour, arch, cache, &kept).with_context(|| format!("kernel {wanted}"))?;
    }
    let sum = fs::read_to_string(kept.join("sha256"))?;
    ensure!(
        sha256(&fs::read(&image)?) == sum.trim(),
        "{} has changed: remove {} to download it again",
        image.display(),
        kept.display()
    );
    let package = fs::read_to_string(kept.join("package"))?;
    let debian = package.trim().rsplit(' ').next().unwrap_or_default();
    let version = debian.split(['-', '~', '+']).next().unwrap_or_default();
    Ok(Kernel {
        arch,
        image,
        version: version.to_owned(),
    })
}

fn parsed(wanted: &str) -> Result<(&str, &'static str, Arch)> {
    parse(wanted).with_context(|| {
        format!(
            "{wanted} is neither a file nor a kernel version such as 6.12, 5.10.223 or 6.1-arm64"
        )
    })
}

/// The series or version, what it is for as Debian calls it, and the machines.
fn parse(wanted: &str) -> Option<(&str, &'static str, Arch)> {
    let (series, flavour, arch) = FLAVOURS
        .iter()
        .find_map(|&(suffix, flavour, arch)| Some((wanted.strip_suffix(suffix)?, flavour, arch)))?;
    let is_version = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    (!series.is_empty() && is_version(series)).then_some((series, flavour, arch))
}

/// The machines that a kernel is for: its name says so, or the magic number that images for arm64 have
/// (Documentation/arch/arm64/booting.rst).
pub(crate) fn arch(wanted: &str) -> Arch {
    let has_magic = || fs::read(wanted).is_ok_and(|image| image.get(56..60) == Some(b"ARM\x64"));
    let named = parse(wanted).map(|(_, _, arch)| arch);
    match named {
        Some(arch) => arch,
        None if wanted.ends_with("_arm64.deb") || has_magic() => Arch::Arm,
        None => Arch::X86,
    }
}

/// An image, or a package that holds one.
fn from_file(path: &Path, cache: &Path) -> Result<Kernel> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut image = path.to_owned();
    if name.ends_with(".deb") {
        let kept = cache.join("files").join(sha256(&fs::read(path)?));
        fs::create_dir_all(&kept)?;
        image = kept.join("vmlinuz");
        fs::write(&image, image_of(path)?)?;
    }
    Ok(Kernel {
        arch: arch(&path.to_string_lossy()),
        image,
        version: name.into_owned(),
    })
}

/// The image in a package; of the rest, the modules are most, and nobody here needs them.
fn image_of(deb: &Path) -> Result<Vec<u8>> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb")?;
    let files = unpack.stdout.take().context("no stdout")?;
    let image = image_in(tar::Archive::new(files));
    // It has said enough, and would wait for a reader.
    unpack.kill()?;
    unpack.wait()?;
    image.with_context(|| deb.display().to_string())
}

/// Downloads the newest package of a series and keeps its image, sum and name.
fn fetch(series: &str, flavour: &str, arch: Arch, cache: &Path, kept: &Path) -> Result<()> {
    let apt = Apt::new(arch, cache)?;
    let package = newest(&apt.kernels(flavour)?, series)
        .with_context(|| format!("this kernel is in no Debian suite (any more): {series}"))?;
    eprintln!("vm: downloading {} {}", package.name, package.version);
    let work = tempfile::tempdir_in(cache)?;
    apt.run(
        Command::new("apt-get")
            .current_dir(work.path())
            .args(["download", &format!("{}={}", package.name, package.version)]),
    )?;
    let deb = files(work.path())?
        .into_iter()
        .next()
        .context("nothing downloaded")?;
    let image = image_of(&deb)?;

    // The image comes last: a directory that has one is complete.
    fs::create_dir_all(kept)?;
    fs::write(
        kept.join("package"),
        format!("{} {}\n", package.name, package.version),
    )?;
    fs::write(kept.join("sha256"), sha256(&image) + "\n")?;
    fs::write(work.path().join("vmlinuz"), image)?;
    fs::rename(work.path().join("vmlinuz"), kept.join("vmlinuz"))?;
    Ok(())
}

/// `boot/vmlinuz-<abi>`, or `usr/lib/modules/<abi>/vmlinuz` since 6.19.
fn image_in(mut files: tar::Archive<impl Read>) -> Result<Vec<u8>> {
    for file in files.entries()? {
        let mut file = file?;
        let path = file.path()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("vmlinuz") && file.header().entry_type().is_file() {
            let mut image = Vec::new();
            file.read_to_end(&mut image)?;
            return Ok(image);
        }
    }
    bail!("the package has no vmlinuz")
}

/// A package that holds a kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
}

/// The newest package of a series or version.
fn newest(packages: &[Package], wanted: &str) -> Option<Package> {
    let of_series = packages.iter().filter(|package| {
        let rest = package.version.strip_prefix(wanted);
        rest.is_some_and(|rest| rest.starts_with(['.', '-']))
    });
    // Where the image moved to `linux-binary-*`, `linux-image-*` is an empty shell of the same version.
    let rank = |package: &&Package| {
        (
            version(&package.version),
            package.name.starts_with("linux-binary-"),
        )
    };
    of_series.max_by_key(rank).cloned()
}

/// The numbers in a version.
fn version(text: &str) -> Vec<u64> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// apt with lists and downloads of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(arch: Arch, cache: &Path) -> Result<Self> {
        let home = cache.join("apt").join(arch.debian());
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.join(dir))?;
        }
        let at = |name: &str| home.join(name).display().to_string();
        fs::write(home.join("sources.list"), sources(&configured()?)?)?;
        let options = [
            format!("APT::Architecture={}", arch.debian()),
            format!("APT::Architectures={}", arch.debian()),
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Drops its privileges for downloads only where it can read what it writes.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self {
            options: options.to_vec(),
        };
        apt.run(Command::new("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        for option in &self.options {
            command.args(["-o", option]);
        }
        output(command)
    }

    /// Every kernel of this flavour of every suite.
    fn kernels(&self, flavour: &str) -> Result<Vec<Package>> {
        let pattern = format!("^linux-(image|binary)-[0-9][^ ]*-{flavour}$");
        let names =
            self.run(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
        let names = names.lines().filter_map(|line| line.split(' ').next());
        // Without digits behind the series it is a name for whatever is newest.
        let numbers = |name: &str| version(name.trim_end_matches(flavour)).len();
        let names = names.filter(|name| numbers(name) > 2);
        let show = self.run(Command::new("apt-cache").arg("show").args(names))?;
        Ok(packages(&show))
    }
}

/// The packages in the output of `apt-cache show`.
fn packages(show: &str) -> Vec<Package> {
    let field = |stanza: &str, name: &str| {
        let mut lines = stanza.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let package = |stanza| {
        let (name, version) = (field(stanza, "Package:")?, field(stanza, "Version:")?);
        Some(Package { name, version })
    };
    show.split("\n\n").filter_map(package).collect()
}

/// `<uri> <label>` of every list that this machine's apt uses.
fn configured() -> Result<String> {
    output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(LABEL)",
        "Created-By: Packages",
    ]))
}

/// The mirror of Debian's main archive that this machine's apt uses.
pub(super) fn mirror() -> Result<String> {
    Ok(archive_of(&configured()?, "Debian")?.to_owned())
}

/// Where the archive of this label is.
fn archive_of<'a>(configured: &'a str, label: &str) -> Result<&'a str> {
    configured
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(uri, of)| (of == label).then_some(uri))
        .with_context(|| format!("apt is not set up with an archive labelled {label}"))
}

/// A sources.list with all suites, from the URIs of the suites that the machine uses.
fn sources(configured: &str) -> Result<String> {
    let mut list = String::new();
    for (label, suites) in [("Debian", SUITES), ("Debian-Security", SECURITY_SUITES)] {
        let uri = archive_of(configured, label)?;
        for suite in suites {
            writeln!(list, "deb {uri} {suite} main")?;
        }
    }
    Ok(list)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let mut sum = String::new();
    for byte in Sha256::digest(bytes) {
        _ = write!(sum, "{byte:02x}");
    }
    sum
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| program.clone())?;
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOW: &str = "\
Package: linux-image-6.12.9+deb13-cloud-amd64\nVersion: 6.12.9-1\nSection: kernel\n
Package: linux-image-6.12.107+deb13-cloud-amd64\nVersion: 6.12.107-1\n
Package: linux-image-6.1.0-56-cloud-amd64\nVersion: 6.1.192-2\n
Package: linux-image-7.2.13+deb14-cloud-amd64\nVersion: 7.2.13-1\n
Package: linux-binary-7.2.13+deb14-cloud-amd64\nVersion: 7.2.13-1\n";

    #[test]
    fn a_series_is_its_newest_package_and_a_version_is_itself() {
        let packages = packages(SHOW);
        let newest = |wanted| newest(&packages, wanted).map(|package| package.name);
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            newest("6.12"),
            name("linux-image-6.12.107+deb13-cloud-amd64")
        );
        assert_eq!(
            newest("6.12.9"),
            name("linux-image-6.12.9+deb13-cloud-amd64")
        );
        assert_eq!(newest("6.1"), name("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest("7.2"), name("linux-binary-7.2.13+deb14-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn what_is_no_kernel_is_refused_before_anything_is_built() {
        // The package's own directory is where its tests run.
        for kernel in [
            "7",
            "6.12",
            "5.10.223",
            "6.1-arm64",
            "6.12-arm64-16k",
            "Cargo.toml",
        ] {
            assert_eq!(asked_for(kernel).unwrap(), kernel);
        }
        for other in ["", "6.12-arm", "newest", "6.12 6.1", "/nowhere/vmlinuz"] {
            assert!(asked_for(other).is_err(), "{other}");
        }
    }

    #[test]
    fn of_a_package_only_the_image_is_read() {
        let package = |paths: &[&str]| {
            let mut tar = tar::Builder::new(Vec::new());
            for path in paths {
                let mut header = tar::Header::new_gnu();
                header.set_size(5);
                tar.append_data(&mut header, path, &b"image"[..]).unwrap();
            }
            image_in(tar::Archive::new(&*tar.into_inner().unwrap()))
        };
        for image in ["./boot/vmlinuz-6.12", "./usr/lib/modules/7.2/vmlinuz"] {
            assert_eq!(package(&["./boot/config", image]).unwrap(), b"image");
        }
        assert!(package(&["./boot/config"]).is_err());
    }

    #[test]
    fn a_version_says_what_it_is_for() {
        assert_eq!(parse("6.12"), Some(("6.12", "cloud-amd64", Arch::X86)));
        assert_eq!(
            parse("6.12-arm64"),
            Some(("6.12", "cloud-arm64", Arch::Arm))
        );
        assert_eq!(parse("7-arm64-16k"), Some(("7", "arm64-16k", Arch::Arm)));
        assert_eq!(parse("-arm64"), None);
        assert_eq!(parse("6.12-riscv64"), None);
    }

    #[test]
    fn sources_come_from_the_mirror_that_is_set_up() {
        let list = sources("m:/debian/ Debian\nm:/sec/ Debian-Security\nx:/y/ Other").unwrap();
        assert!(list.contains("deb m:/debian/ trixie-backports main\n"));
        assert!(list.contains("deb m:/sec/ bullseye-security main\n"));
        assert!(!list.contains("x:/y/"));
        assert!(sources("x:/y/ Other").is_err());
    }
}
