//! Every endpoint of the API, asked by its own schema: no error of the server, no hang, and each answer is as
//! the `OpenAPI` document says.
//!
//! Schemathesis asks (`OOM_TESTS_SCHEMATHESIS`, set by `cargo xtask test`, or on the path). The routes are
//! served over TCP without the limits of the edge, for a store with some events; streams end at once, as
//! those of an agent that stops do.
#![cfg(not(target_env = "musl"))]

use std::{env, ffi::OsString, future::IntoFuture as _, path::Path, process::Command};

use anyhow::{Result, bail, ensure};
use oom_agent::{
    api::router,
    clock::Now,
    store::{Batch, Store},
};
use oom_tests::{
    machine, served,
    told::{BOOT, Kills, host, run},
};
use tokio::{net::TcpListener, runtime::Builder, task::spawn_blocking};

/// Seconds that the whole takes at most.
const SECONDS: &str = "40";

fn fill(path: &Path) -> Result<()> {
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 0)?;
    store.begin_run(&run(), &host(), &Now::read())?;
    let mut batch = Batch::default();
    batch.extend((0..20).flat_map(|n| kills.entries(n)));
    store.commit(&batch, &Now::read())?;
    Ok(())
}

#[test]
fn whatever_is_asked_is_answered_as_the_document_says() -> Result<()> {
    let program = env::var_os("OOM_TESTS_SCHEMATHESIS");
    let program = program.unwrap_or_else(|| OsString::from("schemathesis"));
    if Command::new(&program).arg("--version").output().is_err() {
        return machine::skip("needs Schemathesis; `cargo xtask test` installs it");
    }
    let dir = tempfile::tempdir()?;
    let store = dir.path().join("events.db");
    fill(&store)?;
    let shared = served::shared(&store)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;

    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                  unsupported_method";
    let mut ask = Command::new(&program);
    ask.current_dir(dir.path())
        .args(["run", "--no-color", "--seed", "1", "--workers", "1"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "25",
        ])
        .args([
            "--max-time",
            SECONDS,
            "--request-timeout",
            "10",
            "--warnings",
            "off",
        ])
        .args(["--suppress-health-check", "all", "--checks", checks])
        .arg(format!("http://{address}/v1/openapi.json"));
    let asked = runtime.block_on(async {
        tokio::select! {
            asked = spawn_blocking(move || ask.output()) => Ok(asked??),
            served = axum::serve(listener, router(shared)).into_future() => {
                bail!("it is not served: {served:?}")
            }
        }
    })?;
    let says = String::from_utf8_lossy(&asked.stdout);
    let errors = String::from_utf8_lossy(&asked.stderr);
    ensure!(asked.status.success(), "{says}\n{errors}");
    println!("{says}");
    Ok(())
}
