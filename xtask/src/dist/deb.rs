//! A package for Debian and what is like it (deb(5)), made without Debian's tools.
//!
//! Takes a static binary and `packaging/`; emits the bytes of the package: unit, user, options, manual,
//! completions, licences, and the scripts of `packaging/debian`. Refuses a unit that does not start the
//! program where it expects it.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use md5::{Digest as _, Md5};

use super::{
    manual::Manual,
    tree::{Tree, gzip, hex},
};
use crate::project;

/// Where `packaging/oom-agent.service` has the program, and where packages put it.
const LOCAL: &str = "/usr/local/bin/oom-agent";
const PACKAGED: &str = "/usr/bin/oom-agent";

/// As in `packaging/debian/control`.
const MAINTAINER: &str = "The oom-agent developers <maintainers@oom-agent.invalid>";

/// What to make it of.
pub(crate) struct Deb<'a> {
    /// Debian's version: `0.1.0-1`.
    pub(crate) version: &'a str,
    /// Debian's architecture: `amd64`.
    pub(crate) arch: &'a str,
    pub(crate) binary: &'a [u8],
    pub(crate) manual: &'a Manual,
    /// Of everything that is linked.
    pub(crate) licences: &'a str,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
}

impl Deb<'_> {
    /// The name of its file.
    pub(crate) fn name(&self) -> String {
        format!("oom-agent_{}_{}.deb", self.version, self.arch)
    }

    /// The package.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let data = self.data()?;
        let control = self.control(&data)?;
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&control.tar("./", self.mtime)?)?),
            ("data.tar.gz", gzip(&data.tar("./", self.mtime)?)?),
        ];
        let mut archive = ar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = ar::Header::new(name.into(), bytes.len() as u64);
            header.set_mode(0o100_644);
            header.set_mtime(self.mtime);
            archive.append(&header, bytes.as_slice())?;
        }
        Ok(archive.into_inner()?)
    }

    /// What is installed.
    fn data(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        let text = |name: &str| -> Result<String> {
            let path = project::root().join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        tree.file("usr/bin/oom-agent", 0o755, self.binary.to_vec())?;
        let mut file = |path: &str, text: String| tree.file(path, 0o644, text.into_bytes());
        file(
            "usr/lib/systemd/system/oom-agent.service",
            unit(&text("packaging/oom-agent.service")?)?,
        )?;
        file(
            "usr/lib/sysusers.d/oom-agent.conf",
            text("packaging/oom-agent.sysusers.conf")?,
        )?;
        file("etc/default/oom-agent", text("packaging/debian/default")?)?;
        file(
            "usr/share/lintian/overrides/oom-agent",
            text("packaging/debian/lintian-overrides")?,
        )?;
        for (name, script) in &self.manual.completions {
            file(name, script.clone())?;
        }
        let doc = |name: &str| format!("usr/share/doc/oom-agent/{name}");
        file(&doc("copyright"), text("packaging/debian/copyright")?)?;
        for name in [
            "prometheus/rules.yml",
            "prometheus/scrape.yml",
            "prometheus/scrape-kubernetes.yml",
            "grafana/oom-agent.json",
        ] {
            let path = doc(&format!("examples/{name}"));
            file(&path, text(&format!("packaging/{name}"))?)?;
        }
        let mut packed = |path: String, text: &str| -> Result<()> {
            tree.file(&path, 0o644, gzip(text.as_bytes())?)
        };
        packed(doc("changelog.Debian.gz"), &self.changelog())?;
        packed(doc("changelog.gz"), &text("CHANGELOG.md")?)?;
        packed(doc("THIRD-PARTY-LICENSES.gz"), self.licences)?;
        for (name, page) in &self.manual.pages {
            packed(format!("usr/share/man/man1/{name}.gz"), page)?;
        }
        Ok(tree)
    }

    /// What the package manager reads.
    fn control(&self, data: &Tree) -> Result<Tree> {
        let dir = project::root().join("packaging/debian");
        let text = |name: &str| fs::read_to_string(dir.join(name)).with_context(|| name.to_owned());
        let size: usize = data
            .files()
            .map(|(_, bytes)| bytes.len().div_ceil(1024))
            .sum();
        let control = text("control")?
            .replace("@VERSION@", self.version)
            .replace("@ARCH@", self.arch)
            .replace("@KIB@", &size.to_string());
        let mut sums = String::new();
        for (path, bytes) in data.files() {
            writeln!(sums, "{}  {path}", md5(bytes))?;
        }
        let mut tree = Tree::default();
        tree.file("control", 0o644, control.into_bytes())?;
        tree.file("md5sums", 0o644, sums.into_bytes())?;
        tree.file("conffiles", 0o644, b"/etc/default/oom-agent\n".to_vec())?;
        for script in ["postinst", "prerm", "postrm"] {
            tree.file(script, 0o755, text(script)?.into_bytes())?;
        }
        Ok(tree)
    }
}

impl Deb<'_> {
    /// Debian's own: one entry, that of this build.
    fn changelog(&self) -> String {
        let date = jiff::Timestamp::from_second(i64::try_from(self.mtime).unwrap_or_default());
        let date = date
            .unwrap_or_default()
            .strftime("%a, %d %b %Y %H:%M:%S +0000");
        format!(
            "oom-agent ({}) unstable; urgency=medium\n\n  * As changelog.gz in this directory tells.\n\n \
             -- {MAINTAINER}  {date}\n",
            self.version
        )
    }
}

/// The unit, for the program of the package.
fn unit(text: &str) -> Result<String> {
    let start = format!("\nExecStart={LOCAL} ");
    ensure!(text.matches(&start).count() == 1, "the unit has no {LOCAL}");
    // The words on how to install it by hand are not for those who have it from a package.
    let body = text.split_once("#\n#   install").and_then(|(head, rest)| {
        let rest = rest.split_once("#\n# Who is").map(|(_, rest)| rest)?;
        Some(format!("{head}#\n# Who is{rest}"))
    });
    let body = body.context("the unit does not say how it is installed")?;
    Ok(body.replace(LOCAL, PACKAGED))
}

fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn deb(version: &str) -> Vec<u8> {
        let manual = Manual {
            pages: vec![("oom-agent.1".to_owned(), "page".to_owned())],
            completions: vec![("usr/share/x".to_owned(), "words".to_owned())],
        };
        let deb = Deb {
            version,
            arch: "amd64",
            binary: b"program",
            manual: &manual,
            licences: "texts",
            mtime: 1_000_000_000,
        };
        deb.bytes().unwrap()
    }

    #[test]
    fn a_package_has_its_three_members_and_is_the_same_each_time() {
        let bytes = deb("1.2.3-1");
        assert_eq!(bytes, deb("1.2.3-1"));
        let mut archive = ar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        let mut control = String::new();
        while let Some(member) = archive.next_entry() {
            let mut member = member.unwrap();
            names.push(String::from_utf8(member.header().identifier().to_vec()).unwrap());
            if names.len() == 2 {
                let mut bytes = Vec::new();
                member.read_to_end(&mut bytes).unwrap();
                let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
                for entry in tar.entries().unwrap() {
                    let mut entry = entry.unwrap();
                    if entry.path().unwrap().ends_with("control") {
                        entry.read_to_string(&mut control).unwrap();
                    }
                }
            }
        }
        assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
        assert!(
            control.contains("\nVersion: 1.2.3-1\nArchitecture: amd64\n"),
            "{control}"
        );
        assert!(
            !control.contains('@') || control.contains(MAINTAINER),
            "{control}"
        );
        assert!(control.contains(&format!("\nMaintainer: {MAINTAINER}\n")));
    }

    #[test]
    fn the_unit_is_that_of_the_package() {
        let path = project::root().join("packaging/oom-agent.service");
        let unit = unit(&fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            unit.contains("\nExecStart=/usr/bin/oom-agent run "),
            "{unit}"
        );
        assert!(
            !unit.contains("/usr/local") && !unit.contains("install -m"),
            "{unit}"
        );
    }
}
