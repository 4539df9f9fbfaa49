//! Streams that are made, compared and changed by `fleet init`; that are not there; and who is let in to them.

use std::fs;

use anyhow::{Result, ensure};
use oom_agent::nats::Options;
use oom_tests::nats::{self, Cluster};

use crate::{
    child::say,
    node::{LONG, Node, exactly},
};

#[test]
fn streams_are_made_compared_and_changed() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let made = say(&["fleet", "init"], &cluster)?;
    ensure!(made.code == Some(0), "{made:?}");
    ensure!(made.out == "OOM: made\nOOM_NODES: made\n");
    let again = say(&["fleet", "init"], &cluster)?;
    ensure!(again.out == "OOM: as it should be\nOOM_NODES: as it should be\n");
    let other = ["fleet", "init", "--max-age", "7"];
    let differs = say(&other, &cluster)?;
    ensure!(differs.code == Some(7));
    let told = "OOM: differs, and is left as it is\n  max_age is 2592000s, wanted: 604800s\n";
    ensure!(differs.out.starts_with(told), "{differs:?}");
    let changed = say(&[&other[..], &["--update"]].concat(), &cluster)?;
    ensure!(changed.code == Some(0), "{changed:?}");
    ensure!(say(&other, &cluster)?.code == Some(0));
    Ok(())
}

#[test]
fn without_a_stream_it_is_said_what_makes_it() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    agent.kill(0);
    agent.goes("in trouble", |status| {
        let error = status.last_error.as_deref();
        error.is_some_and(|error| error.contains("oom-agent fleet init"))
    })?;
    cluster.init(LONG)?;
    exactly(&cluster.wait_for(2)?, 1)?;
    agent.end()?;
    let asked = say(&["fleet", "events"], &Cluster::start(1)?)?;
    ensure!(asked.err.contains("oom-agent fleet init"));
    Ok(())
}

#[test]
fn with_certificates_and_a_seed() -> Result<()> {
    // From the documentation of NATS: a secret of nobody.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    if !nats::is_there()? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let [cert, key, seed] = ["tls.crt", "tls.key", "seed"].map(|name| dir.path().join(name));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::write(&cert, made.cert.pem())?;
    fs::write(&seed, SEED)?;
    let more = format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?} }}\nauthorization {{ users: [{{ nkey: {PUBLIC} }}] }}"
    );
    let client = Options {
        ca: Some(cert.clone()),
        creds: Some(seed.clone()),
        ..Options::default()
    };
    let cluster = Cluster::start_with(1, &more, client)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    agent.kills(0..5);
    exactly(&cluster.wait_for(10)?, 5)?;
    agent.end()?;
    // Neither without the one nor without the other.
    let [cert, seed] = [&cert, &seed].map(|path| path.to_string_lossy());
    for args in [["--nats-ca", &*cert], ["--nats-creds", &*seed]] {
        let asked = say(&[&["fleet", "nodes"], &args[..]].concat(), &cluster)?;
        ensure!(asked.code == Some(1), "{asked:?}");
    }
    let all = ["fleet", "nodes", "--nats-ca", &cert, "--nats-creds", &seed];
    let asked = say(&all, &cluster)?;
    ensure!(asked.code == Some(0), "{asked:?}");
    Ok(())
}
