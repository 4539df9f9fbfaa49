//! Who may ask the real agent, confined as it is: sockets, TLS, tokens, and clients that hold on.
//!
//! `cargo test -p oom-tests --test api_edge`, as root. What each limit does, the agent's own tests show.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{DEADLINE, Launch},
    machine::Machine,
    scene,
};
use rustix::process::Signal;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;

/// Who asks at once, and does not come to an end.
const SLOW: usize = 200;

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).context("connect")?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Status and body.
fn ask(mut stream: impl Read + Write, path: &str, fields: &str) -> Result<(u16, String)> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.get(9..12).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

fn json(socket: &Path, path: &str) -> Result<Value> {
    let (status, body) = ask(connect(socket)?, path, "")?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

#[test]
fn a_confined_agent_is_asked_and_slow_clients_hold_up_nobody() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("run/api.sock");
    let agent = Launch::run(&[
        "--socket",
        socket.to_str().context("path")?,
        "--socket-group",
        "1",
    ]);
    let agent = agent.start()?;
    let about = fs::metadata(&socket)?;
    ensure!(about.file_type().is_socket());
    ensure!(about.permissions().mode() & 0o777 == 0o660, "{about:?}");
    ensure!(about.gid() == 1, "{about:?}");

    let slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut slow = connect(&socket)?;
            slow.write_all(b"GET /v1/status HTTP/1.1\r\nHo")?;
            Ok(slow)
        })
        .collect::<Result<_>>()?;
    let began = Instant::now();
    for path in ["/livez", "/readyz"] {
        let answer = ask(connect(&socket)?, path, "")?;
        ensure!(answer == (200, "ok\n".to_owned()), "{path}: {answer:?}");
    }
    let status = json(&socket, "/v1/status")?;
    ensure!(status["detecting"] == true && status["pid"] == agent.pid());
    // The other two take limits and privileges that a machine may not have.
    for name in ["no-new-privs", "capabilities", "landlock", "seccomp"] {
        let guards = status["protections"].as_array().context("protections")?;
        let is_on = |guard: &&Value| guard["name"] == name && guard["state"] == "on";
        ensure!(
            guards.iter().any(|guard| is_on(&guard)),
            "{name}: {guards:?}"
        );
    }
    let found = json(&socket, "/v1/machine")?;
    ensure!(found["memory_bytes"].as_u64() > Some(0), "{found}");
    ensure!(found["cpus"]["cores"].as_u64() > Some(0), "{found}");
    ensure!(found["boot_id"] == status["boot_id"], "{found}");
    for (path, wanted) in [("/", 200), ("/nothing", 404), ("/v1/status/", 404)] {
        let (status, body) = ask(connect(&socket)?, path, "")?;
        ensure!(status == wanted, "{path}: {status} {body}");
    }
    let truth = scene::one_kill(&machine.hierarchy)?;
    agent.wait_for_death(truth.victim.pid)?;
    let told = json(&socket, "/v1/status")?;
    ensure!(told["audit"]["kills"] == 1, "{told}");
    // None of them was waited for: each may hold on for 10 s.
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(9), "{took:?}");

    // Who has not come to an end is not waited for at the end, either.
    let began = Instant::now();
    agent.stop(Signal::TERM)?.summary()?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(9), "{took:?}");
    drop(slow);
    ensure!(!socket.exists());
    Ok(())
}

#[test]
fn a_socket_is_taken_over_from_the_dead_alone() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("api.sock");
    let path = socket.to_str().context("path")?;
    let launch = Launch::run(&["--socket", path]);
    let first = launch.start()?;
    let second = launch.finish()?;
    ensure!(second.status.code() == Some(1), "{second:?}");
    second.says(&["cannot listen on", "api.sock", "another agent"])?;
    ensure!(json(&socket, "/v1/status")?["pid"] == first.pid());
    first.stop(Signal::KILL)?;
    ensure!(socket.exists());
    let third = launch.start()?;
    ensure!(json(&socket, "/v1/status")?["pid"] == third.pid());
    third.stop(Signal::TERM)?.summary()?;
    ensure!(!socket.exists());

    fs::write(&socket, "precious")?;
    let fourth = launch.finish()?;
    ensure!(fourth.status.code() == Some(1), "{fourth:?}");
    fourth.says(&["api.sock", "not a socket"])?;
    ensure!(fs::read(&socket)? == b"precious");

    let exposed = ["--socket", "none", "--listen", "0.0.0.0:0"];
    let fifth = Launch::run(&exposed).finish()?;
    ensure!(fifth.status.code() == Some(1), "{fifth:?}");
    fifth.says(&[
        "0.0.0.0:0",
        "--token-file",
        "--tls-cert",
        "--insecure-listen-anywhere",
    ])
}

/// A certificate for `localhost` that is its own authority, in these files; and a client that trusts it.
fn certificate(cert: &Path, key: &Path) -> Result<Arc<ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(key, made.signing_key.serialize_pem())?;
    fs::write(cert, made.cert.pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[test]
fn over_tls_with_a_token_that_are_renewed_while_it_runs() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let [cert, key, token] = ["tls.crt", "tls.key", "token"].map(|name| dir.path().join(name));
    let client = certificate(&cert, &key)?;
    fs::write(&token, "first\n")?;
    let [cert_path, key_path, token_path] = [&cert, &key, &token].map(|it| it.to_string_lossy());
    let agent = Launch::run(&[
        "--socket",
        "none",
        "--listen",
        "0.0.0.0:0",
        "--tls-cert",
        &cert_path,
        "--tls-key",
        &key_path,
        "--token-file",
        &token_path,
    ]);
    let agent = agent.start()?;
    let address = agent.wait_for_line("can be asked at 0.0.0.0:")?;
    let port = address.trim().parse::<u16>()?;
    let ask = |client: &Arc<ClientConfig>, path: &str, token: &str| -> Result<u16> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from("localhost")?;
        let stream = StreamOwned::new(ClientConnection::new(client.clone(), name)?, stream);
        let fields = format!("Authorization: Bearer {token}\r\n");
        ask(stream, path, &fields).map(|(status, _)| status)
    };
    ensure!(ask(&client, "/v1/status", "first")? == 200);
    ensure!(ask(&client, "/v1/status", "second")? == 401);
    ensure!(ask(&client, "/livez", "second")? == 200);

    // Landlock and seccomp let it read what has come since.
    fs::write(&token, "second\n")?;
    let client = certificate(&cert, &key)?;
    let end = Instant::now() + DEADLINE;
    while !matches!(ask(&client, "/v1/status", "second"), Ok(200)) {
        ensure!(Instant::now() < end, "they are not read again");
        thread::yield_now();
    }
    agent.stop(Signal::TERM)?.summary()?;
    Ok(())
}
