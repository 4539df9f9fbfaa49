//! The page's files, without a browser.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use oom_tests::machine;

#[test]
fn every_script_is_one() -> Result<()> {
    if !machine::has_program("node")? {
        return Ok(());
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oom-agent/page");
    let dir = tempfile::tempdir()?;
    for entry in fs::read_dir(page)? {
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
