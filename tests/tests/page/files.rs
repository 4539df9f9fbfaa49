//! The page's files, without a browser.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use oom_tests::machine;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../oom-agent/page");

#[test]
fn every_script_is_one() -> Result<()> {
    if !machine::has_program("node")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    for entry in fs::read_dir(PAGE)? {
        let path = entry?.path();
        if path.extension().is_some_and(|of| of == "js") {
            // As a module.
            let copy = dir.path().join("module.mjs");
            fs::copy(&path, &copy)?;
            let said = Command::new("node").arg("--check").arg(&copy).output()?;
            ensure!(said.status.success(), "{}: {said:?}", path.display());
        }
    }
    Ok(())
}

/// Seconds of readings, and how many of them are in each part of the curve.
const CURVES: &str = "import { unbroken } from './curve.js';
    import { deepEqual } from 'node:assert/strict';
    for (const [seconds, expected] of [
      [[-40, -30, -20, -10, 0], [5]],
      // Each second is watched; what does not move is kept each 10 s, a late one a little later.
      [[-25, -15, -4.4, -4, -3, -2, -1, 0], [8]],
      [[-6, -5, -4, -3, -2, -1.1, 0], [7]],
      [[-60, -59, -58, -40, -39, 0], [3, 2, 1]],
      [[-12, 0], [1, 1]],
    ]) {
      const parts = unbroken(seconds.map((s) => ({ t_ns: s * 1e9 })));
      deepEqual(parts.map((part) => part.length), expected, String(seconds));
    }";

#[test]
fn a_curve_is_broken_only_where_nobody_watched() -> Result<()> {
    if !machine::has_program("node")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    for name in ["curve.js", "dom.js", "units.js"] {
        fs::copy(Path::new(PAGE).join(name), dir.path().join(name))?;
    }
    fs::write(dir.path().join("package.json"), r#"{"type":"module"}"#)?;
    fs::write(dir.path().join("test.js"), CURVES)?;
    let test = dir.path().join("test.js");
    let said = Command::new("node").arg(test).output()?;
    ensure!(said.status.success(), "{said:?}");
    Ok(())
}
