//! A real cluster of NATS servers on loopback.
//!
//! Starts `nats-server` (`OOM_TESTS_NATS_SERVER`, set by `cargo xtask test`, or on the path) with `JetStream` in
//! directories of the test's own, on ports that the system gives; ends each by its process. Refuses to wait without
//! a deadline.

use std::{
    env,
    ffi::OsString,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use async_nats::jetstream::{Context, consumer::pull::OrderedConfig};
use futures_util::StreamExt as _;
use oom_agent::nats::{
    Access, Options,
    streams::{self, Made, Wanted},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};

use crate::{agent::DEADLINE, machine};

/// Where the program is.
const VARIABLE: &str = "OOM_TESTS_NATS_SERVER";

/// The stream.
pub const STREAM: &str = "OOM";

/// Servers that know each other.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    servers: Vec<Server>,
    runtime: Runtime,
    /// More lines of each server's configuration.
    more: String,
    /// What a client needs to be let in.
    client: Options,
}

#[derive(Debug)]
struct Server {
    port: u16,
    route: u16,
    child: Option<Child>,
}

/// A message of the stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where.
    pub subject: String,
    /// Its number in the stream.
    pub number: u64,
    /// The event.
    pub body: String,
}

/// The program; `None`: there is none.
#[must_use]
pub fn program() -> OsString {
    env::var_os(VARIABLE).unwrap_or_else(|| OsString::from("nats-server"))
}

/// Whether it can be started; says so if not, for the test is skipped then.
pub fn is_there() -> Result<bool> {
    machine::has_program(&program().to_string_lossy())
}

impl Cluster {
    /// Starts so many, and waits until they have agreed.
    pub fn start(servers: usize) -> Result<Self> {
        Self::start_with(servers, "", Options::default())
    }

    /// The same with more in their configuration, and what a client needs then.
    pub fn start_with(servers: usize, more: &str, client: Options) -> Result<Self> {
        // Held until all are known, so that no port is given twice.
        let free = || TcpListener::bind("127.0.0.1:0");
        let held: Vec<_> = (0..servers)
            .map(|_| Ok((free()?, free()?)))
            .collect::<Result<_>>()?;
        let server = |(port, route): &(TcpListener, TcpListener)| {
            Ok(Server {
                port: port.local_addr()?.port(),
                route: route.local_addr()?.port(),
                child: None,
            })
        };
        let servers = held.iter().map(server).collect::<Result<Vec<_>>>()?;
        drop(held);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut cluster = Self {
            dir: tempfile::tempdir()?,
            servers,
            runtime,
            more: more.to_owned(),
            client,
        };
        for n in 0..cluster.servers.len() {
            cluster.go_on(n)?;
        }
        Ok(cluster)
    }

    /// Makes the streams, on all servers; events that come twice within this time are taken once.
    pub fn init(&self, duplicates: Duration) -> Result<()> {
        let wanted = Wanted {
            replicas: self.servers.len(),
            duplicates,
            ..Wanted::new(STREAM)
        };
        let end = Instant::now() + DEADLINE;
        loop {
            let made = self.runtime.block_on(async {
                let context = self.access()?.connect("test").await?;
                Ok::<_, anyhow::Error>(streams::init(&context, &wanted, false).await?)
            });
            match made {
                // A leader has yet to be found.
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
                Ok(made) => {
                    let fits = |made: &Made| matches!(made, Made::Created | Made::Fits);
                    ensure!(made.iter().all(|(_, made)| fits(made)), "{made:?}");
                    return Ok(());
                }
            }
        }
    }

    /// What a client is told of them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let url = |server: &Server| format!("nats://127.0.0.1:{}", server.port);
        self.servers.iter().map(url).collect()
    }

    /// Their ports.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|it| it.port).collect()
    }

    /// Removes the stream with all that it has.
    pub fn remove(&self) -> Result<()> {
        self.remove_stream(STREAM)
    }

    /// The same of the stream of this name.
    pub fn remove_stream(&self, name: &str) -> Result<()> {
        self.runtime.block_on(async {
            let context = self.access()?.connect("test").await?;
            let removed = context.delete_stream(name).await?;
            ensure!(removed.success, "it is there still");
            Ok(())
        })
    }

    /// As an agent has it.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            servers: self.urls(),
            stream: STREAM.to_owned(),
            heartbeat: Duration::from_secs(1),
            ..self.client.clone()
        }
    }

    /// The same, ready.
    pub fn access(&self) -> Result<Access> {
        Ok(Access::read(&self.options())?)
    }

    /// Where asynchronous work is done.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Process ids of those that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let children = self.servers.iter().filter_map(|it| it.child.as_ref());
        children.map(Child::id).collect()
    }

    /// Kills one, as a machine that loses power.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        if let Some(mut child) = self.servers[n].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Kills the one that leads the stream; which one that was.
    pub fn kill_leader(&mut self) -> Result<usize> {
        let leader = self.runtime.block_on(async {
            let context = self.access()?.connect("test").await?;
            let stream = context.get_stream(STREAM).await?;
            let cluster = stream.cached_info().cluster.clone();
            cluster.and_then(|it| it.leader).context("no leader")
        })?;
        let n = leader
            .strip_prefix('n')
            .context("name of a server")?
            .parse()?;
        self.kill(n)?;
        Ok(n)
    }

    /// Starts one, again with what it had.
    pub fn go_on(&mut self, n: usize) -> Result<()> {
        let routes: Vec<_> = (self.servers.iter())
            .map(|it| format!("nats://127.0.0.1:{}", it.route))
            .collect();
        let Server { port, route, .. } = self.servers[n];
        let store = self.dir.path().join(format!("n{n}"));
        let cluster = if self.servers.len() > 1 {
            format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: {routes:?} }}\n"
            )
        } else {
            String::new()
        };
        let config = format!(
            "server_name: n{n}\nlisten: \"127.0.0.1:{port}\"\n\
             jetstream {{ store_dir: \"{}\", max_memory_store: 67108864, max_file_store: 4294967296 }}\n\
             {cluster}{}\n",
            store.display(),
            self.more
        );
        let path = self.dir.path().join(format!("n{n}.conf"));
        fs::write(&path, config)?;
        let log = fs::File::create(self.log(n))?;
        let child = Command::new(program())
            .arg("--config")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start nats-server")?;
        self.servers[n].child = Some(child);
        let end = Instant::now() + DEADLINE;
        while !fs::read_to_string(self.log(n))?.contains("Server is ready") {
            if let Some(child) = &mut self.servers[n].child
                && let Some(status) = child.try_wait()?
            {
                bail!("{status}:\n{}", fs::read_to_string(self.log(n))?);
            }
            ensure!(Instant::now() < end, "the server is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn log(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}.log"))
    }

    /// Publishes something, without an id.
    pub fn publish(&self, subject: &'static str, body: &str) -> Result<()> {
        self.runtime.block_on(async {
            let context = self.access()?.connect("test").await?;
            context
                .publish(subject, body.to_owned().into())
                .await?
                .await?;
            Ok(())
        })
    }

    /// All messages of the stream, in its order.
    pub fn messages(&self) -> Result<Vec<Message>> {
        self.runtime.block_on(async {
            let context = self.access()?.connect("test").await?;
            messages(&context).await
        })
    }

    /// Waits until the stream holds so many messages, and gives them.
    pub fn wait_for(&self, messages: usize) -> Result<Vec<Message>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.messages();
            match found {
                Ok(found) if found.len() >= messages => return Ok(found),
                // Nobody leads, or there is more to come.
                Ok(found) if Instant::now() >= end => {
                    bail!("{} messages of {messages}", found.len())
                }
                Err(error) if Instant::now() >= end => return Err(error),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

async fn messages(context: &Context) -> Result<Vec<Message>> {
    let stream = context.get_stream(STREAM).await?;
    let last = stream.cached_info().state.last_sequence;
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let mut left = consumer.cached_info().num_pending;
    let mut found = Vec::new();
    let mut messages = consumer.messages().await?;
    while left > 0 {
        let message = timeout(Duration::from_secs(5), messages.next()).await?;
        let message = message.context("no message")??;
        let info = message.info().map_err(|error| anyhow!(error))?;
        left = info.pending;
        found.push(Message {
            subject: message.subject.to_string(),
            number: info.stream_sequence,
            body: String::from_utf8(message.payload.to_vec())?,
        });
    }
    ensure!(found.len() as u64 <= last, "more than there are");
    Ok(found)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for n in 0..self.servers.len() {
            if std::thread::panicking()
                && let Ok(log) = fs::read_to_string(self.log(n))
            {
                eprintln!("server n{n}:\n{log}");
            }
            let _ = self.kill(n);
        }
    }
}
