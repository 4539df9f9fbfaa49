//! Who uses whom: the paths of `crate::` and `super::` in the code.
//!
//! Reads Rust as it is formatted; emits the rooms of each path, and where it is. Passes over comments, strings and what
//! only tests compile.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use regex::{Captures, Regex};

/// Text by path.
pub(crate) type Files = BTreeMap<String, String>;

/// Places in the code by who uses whom there.
pub(crate) type Uses = BTreeMap<(String, String), Vec<String>>;

/// The code below a directory.
pub(crate) fn read(root: &Path, dir: &Path, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, files)?;
        } else if let Some("rs") = path.extension().and_then(|it| it.to_str()) {
            let name = path.strip_prefix(root)?.to_str().context("name")?;
            files.insert(name.to_owned(), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Who uses whom.
pub(crate) fn uses(files: &Files) -> Result<Uses> {
    let flat = Flat::new()?;
    let declared = Regex::new(r"\bmod (\w+);")?;
    let path = Regex::new(r"(in )?\b((?:crate|super)(?:::\w+)+)")?;
    let (mut uses, mut modules) = (Uses::new(), vec![Vec::new()]);
    while let Some(module) = modules.pop() {
        let name = module.join("/");
        let places = match module[..] {
            [] => ["lib.rs".to_owned(), String::new()],
            _ => [format!("{name}/mod.rs"), format!("{name}.rs")],
        };
        let file = places.iter().find(|it| files.contains_key(*it));
        let file = file.with_context(|| format!("no file of {name}"))?;
        let code = flat.code(&files[file]);
        for found in declared.captures_iter(&code) {
            modules.push([&module[..], &[found[1].to_owned()]].concat());
        }
        for found in path.captures_iter(&code) {
            let (None, Some(path)) = (found.get(1), found.get(2)) else {
                continue;
            };
            let to: Vec<_> = path.as_str().split("::").map(str::to_owned).collect();
            let up = to.iter().take_while(|name| *name == "super").count();
            let from = if up == 0 { 0 } else { module.len() - up };
            let to = [&module[..from], &to[up.max(1)..]].concat();
            let (of, to) = (room(&module), room(&to));
            if of != to {
                let line = code[..path.start()].matches('\n').count() + 1;
                let places: &mut Vec<_> = uses.entry((of, to)).or_default();
                places.push(format!("{file}:{line}"));
            }
        }
    }
    Ok(uses)
}

fn room(path: &[String]) -> String {
    let is_source = path.first().is_some_and(|room| room == "source");
    path[..path.len().min(1 + usize::from(is_source))].join("::")
}

/// What makes code flat.
struct Flat {
    silent: Regex,
    tree: Regex,
    leaf: Regex,
}

impl Flat {
    fn new() -> Result<Self> {
        let silent = r##"(?s)//[^\n]*|r#".*?"#|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\[^\n][^'\n]*)'"##;
        Ok(Self {
            silent: Regex::new(silent)?,
            tree: Regex::new(r"((?:\w+::)+)\{([^{}]*)\}")?,
            leaf: Regex::new(r"\w[^,]*")?,
        })
    }

    /// Without comments, strings and what only tests compile, and `a::{b, c}` as `a::b, a::c`. Lines stay.
    fn code(&self, text: &str) -> String {
        let lines = |text: &str| "\n".repeat(text.matches('\n').count());
        let text = (self.silent).replace_all(text, |found: &Captures<'_>| lines(&found[0]));
        let mut parts = text.split("#[cfg(test)]");
        let mut code = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let mut depth = 0;
            let end = part.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0 && matches!(c, ';' | '}')
            });
            let (item, rest) = part.split_at(end.map_or(part.len(), |end| end + 1));
            code.extend([&lines(item), rest]);
        }
        while let Cow::Owned(flat) = self.tree.replace_all(&code, |tree: &Captures<'_>| {
            let whole = |leaf: &Captures<'_>| tree[1].to_owned() + &leaf[0];
            self.leaf.replace_all(&tree[2], whole).into_owned()
        }) {
            code = flat;
        }
        code
    }
}
