//! The licence texts of everything that is linked into the agent.
//!
//! Takes crates; reads the files in their own directories; emits one text in which each licence stands once,
//! below the crates that have it. A crate that was published without a text gets that of another one of the
//! same repository, or, if it may be used under Apache-2.0, that text: it names nobody. Refuses a crate
//! for which there is none.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::crates::Crate;
use crate::project;

/// How the names of such files begin, in capital letters.
const NAMES: &[&str] = &[
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

const RULE: &str =
    "--------------------------------------------------------------------------------";

/// All of them, and what is linked besides crates (`packaging/licences.txt`).
pub(super) fn texts(crates: &[Crate]) -> Result<String> {
    let besides = fs::read_to_string(project::root().join("packaging/licences.txt"))?;
    let foreign: Vec<&Crate> = crates.iter().filter(|of| of.sha256.is_some()).collect();
    let mut by_text: BTreeMap<String, Vec<&Crate>> = BTreeMap::new();
    for of in &foreign {
        let texts = texts_of(of, &foreign).with_context(|| of.name.clone())?;
        for text in texts {
            by_text.entry(text).or_default().push(of);
        }
    }
    let mut all = String::from("oom-agent contains the following works of others.\n\n");
    for of in &foreign {
        let licence = of.licence.as_deref().unwrap_or("see its text below");
        writeln!(all, "{} {}: {licence}", of.name, of.version)?;
    }
    write!(all, "\n{RULE}\n{besides}")?;
    let mut texts: Vec<_> = by_text.into_iter().collect();
    texts.sort_by_key(|(_, crates)| crates[0].name.clone());
    for (text, crates) in texts {
        let names: Vec<_> = crates
            .iter()
            .map(|of| format!("{} {}", of.name, of.version))
            .collect();
        write!(all, "\n{RULE}\n{}:\n\n{text}\n", names.join(", "))?;
    }
    Ok(all)
}

/// What holds for a crate.
fn texts_of(of: &Crate, all: &[&Crate]) -> Result<Vec<String>> {
    let own = texts_in(&of.dir)?;
    if !own.is_empty() {
        return Ok(own);
    }
    let siblings = all.iter().filter(|other| {
        other.repository.is_some()
            && other.repository == of.repository
            && other.licence == of.licence
    });
    for sibling in siblings {
        let texts = texts_in(&sibling.dir)?;
        if !texts.is_empty() {
            return Ok(texts);
        }
    }
    if is_apache(of.licence.as_deref().unwrap_or_default()) {
        let text = fs::read_to_string(project::root().join("LICENSE-APACHE"))?;
        return Ok(vec![text.trim().to_owned()]);
    }
    bail!("no text of its licence: {:?}", of.licence)
}

/// Whether Apache-2.0 alone would do.
fn is_apache(expression: &str) -> bool {
    let mut choices = expression.split(" OR ").flat_map(|part| part.split('/'));
    choices.any(|licence| licence.trim() == "Apache-2.0")
}

/// The texts in a crate's directory, and in one named after them (REUSE has `LICENSES/`).
fn texts_in(dir: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|start| name.starts_with(start)) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut below = fs::read_dir(&path)?
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<Vec<_>>>()?;
            below.sort();
            for path in below.iter().filter(|path| path.is_file()) {
                texts.push(read(path)?);
            }
        } else {
            texts.push(read(&path)?);
        }
    }
    Ok(texts)
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
    Ok(text.trim_matches(['\n', '\u{feff}']).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, licence: &str, dir: &Path) -> Crate {
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: Some(licence.to_owned()),
            repository: Some("r".to_owned()),
            description: None,
            dir: dir.to_owned(),
            sha256: Some(String::new()),
            needs: Vec::new(),
        }
    }

    #[test]
    fn a_crate_without_a_text_takes_its_siblings_or_is_named() {
        let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(with.path().join("License.md"), "may be used\n").unwrap();
        let (a, b) = (of("a", "MIT", with.path()), of("b", "MIT", without.path()));
        let text = texts(&[a, b.clone()]).unwrap();
        assert!(
            text.contains("a 1.0.0, b 1.0.0:\n\nmay be used\n"),
            "{text}"
        );
        let error = format!("{:#}", texts(&[b]).unwrap_err());
        assert!(error.starts_with("b: no text"), "{error}");
    }

    #[test]
    fn the_text_that_names_nobody_does_where_it_may() {
        let dir = tempfile::tempdir().unwrap();
        assert!(texts(&[of("a", "MIT OR Apache-2.0", dir.path())]).is_ok());
        assert!(texts(&[of("a", "MIT AND Apache-2.0", dir.path())]).is_err());
        assert!(is_apache("MIT/Apache-2.0"));
    }
}
