//! Static programs for a machine of any architecture, built on this one.
//!
//! Runs cargo with a musl target; emits the names and paths of what it linked. For another architecture
//! than this machine's, Zig compiles the C in dependencies (`python.rs` installs it) and the linker is rustc's own, which with the
//! libc that comes with the target is all that is needed. Refuses a toolchain without the target.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use crate::{arch::Arch, project, python, tool};

/// What to build.
pub(crate) struct Build<'a> {
    /// For which machines.
    pub(crate) arch: Arch,
    /// With which of cargo's profiles: `guest`, `release`.
    pub(crate) profile: &'a str,
    /// Which packages, features and targets, in the words of `cargo build`.
    pub(crate) what: &'a [&'a str],
    /// Flags for rustc instead of all that the environment and cargo's configuration have; none: theirs.
    pub(crate) rustflags: Option<Vec<String>>,
}

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Where cargo put it.
    pub(crate) path: PathBuf,
}

/// Whether the toolchain can build for these machines; if not, what to do about it.
pub(crate) fn lacks(arch: Arch) -> Result<Option<String>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut libdir = tool::without_package(rustc);
    let target = arch.target();
    libdir
        .args(["--print", "target-libdir", "--target", &target])
        .current_dir(project::root());
    let there = Path::new(&tool::output(&mut libdir)?).is_dir();
    Ok((!there).then(|| format!("needs `rustup target add {target}`")))
}

/// Builds programs, linked statically.
pub(crate) fn build(build: &Build<'_>) -> Result<Vec<Program>> {
    if let Some(lacks) = lacks(build.arch)? {
        bail!("building for {}: {lacks}", build.arch.name());
    }
    let target = build.arch.target();
    let mut cargo = tool::cargo();
    cargo
        .args(["build", "--quiet", "--profile", build.profile])
        .args(["--target", &target])
        .args(build.what)
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(project::target())
        .envs(compilers(build.arch)?)
        .stderr(Stdio::inherit());
    if let Some(flags) = &build.rustflags {
        // Of all places this one comes first (https://doc.rust-lang.org/cargo/reference/config.html#buildrustflags).
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    }
    let output = cargo.output().context("cargo build")?;
    if !output.status.success() {
        bail!("the programs do not build for {target}: {}", output.status);
    }
    programs(&output.stdout)
}

/// The programs in cargo's messages.
fn programs(messages: &[u8]) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let lines = messages.split(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        let (name, path) = (&message["target"]["name"], &message["executable"]);
        if let (Some(name), Some(path)) = (name.as_str(), path.as_str()) {
            programs.push(Program {
                name: name.to_owned(),
                path: path.into(),
            });
        }
    }
    Ok(programs)
}

/// What tells cargo and build scripts how to compile and link for these machines; nothing where this is one.
fn compilers(arch: Arch) -> Result<Vec<(String, OsString)>> {
    if arch.is_here() {
        return Ok(Vec::new());
    }
    let zig = python::zig()?;
    let dir = project::tools().join("cross");
    fs::create_dir_all(&dir)?;
    let script = |name: &str, text: String| -> Result<OsString> {
        let path = dir.join(format!("{}-{name}", arch.name()));
        write_script(&path, &text)?;
        Ok(path.into_os_string())
    };
    let variable = arch.target().replace('-', "_");
    Ok(vec![
        (format!("CC_{variable}"), script("cc", cc(&zig, arch))?),
        (format!("AR_{variable}"), script("ar", ar(&zig))?),
        (
            format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
            "rust-lld".into(),
        ),
    ])
}

/// Zig has names of its own for targets, and checks for undefined behaviour unless told not to.
fn cc(zig: &Path, arch: Arch) -> String {
    format!(
        "#!/bin/sh\n\
         for arg do\n    \
             shift\n    \
             case $arg in --target=*) ;; *) set -- \"$@\" \"$arg\" ;; esac\n\
         done\n\
         {}exec {} cc -target {}-linux-musl -fno-sanitize=undefined \"$@\"\n",
        cache(),
        quoted(zig.as_os_str()),
        arch.name(),
    )
}

fn ar(zig: &Path) -> String {
    format!(
        "#!/bin/sh\n{}exec {} ar \"$@\"\n",
        cache(),
        quoted(zig.as_os_str())
    )
}

/// What Zig keeps stays among the tools.
fn cache() -> String {
    let cache = project::tools().join("cross/cache");
    let cache = quoted(cache.as_os_str());
    format!("export ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache}\n")
}

/// One word for the shell.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// Another build may run the script at this moment: it is replaced in one step, and only if it differs.
fn write_script(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let dir = path.parent().context("no directory")?;
    let new = tempfile::NamedTempFile::new_in(dir)?;
    fs::write(&new, text)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755))?;
    // A file that is open for writing cannot be run.
    new.into_temp_path()
        .persist(path)
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_what_cargo_linked() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"agent"},"executable":"/t/agent"}
{"reason":"build-finished","success":true}
"#;
        let programs = programs(messages).unwrap();
        assert_eq!(programs.len(), 1);
        assert_eq!(programs[0].name, "agent");
        assert_eq!(programs[0].path, Path::new("/t/agent"));
    }

    #[test]
    fn the_compiler_is_told_the_target_once() {
        let dir = tempfile::tempdir().unwrap();
        let echo = dir.path().join("it's echo");
        write_script(&echo, "#!/bin/sh\nfor a do echo \"$a\"; done\n").unwrap();
        let script = dir.path().join("cc");
        write_script(&script, &cc(&echo, Arch::Arm)).unwrap();
        let mut run = std::process::Command::new(&script);
        run.args(["-c", "--target=aarch64-unknown-linux-musl", "a b.c"]);
        let words = tool::output(&mut run).unwrap();
        let words: Vec<_> = words.lines().collect();
        let target = "aarch64-linux-musl";
        assert_eq!(
            words,
            [
                "cc",
                "-target",
                target,
                "-fno-sanitize=undefined",
                "-c",
                "a b.c"
            ]
        );
    }
}
