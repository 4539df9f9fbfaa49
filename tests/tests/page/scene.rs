//! A machine of this test's own, an agent that serves the page, a browser at it, and kills in pods.

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{Agent, Launch},
    browser::Browser,
    http::Socket,
    kept::Kept,
    machine::Machine,
    runtime::{
        Running as _,
        bundle::Bundle,
        plain::{self, Plain},
        play::{self, Dies},
    },
};
use serde_json::Value;

/// An agent with a port and a socket, and a browser at its page.
pub(crate) struct Scene {
    pub(crate) kept: Kept,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) browser: Browser,
    pub(crate) machine: Machine,
}

impl Scene {
    /// `None`: there is no browser, or no real kill to be had, and the test is skipped.
    pub(crate) fn new() -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        let Some(browser) = Browser::start()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            kept: Kept::without_pins()?,
            dir: tempfile::tempdir()?,
            browser,
            machine,
        }))
    }

    pub(crate) fn socket(&self) -> Socket {
        Socket(self.dir.path().join("api.sock"))
    }

    /// Starts an agent, at this port or any.
    pub(crate) fn agent(&self, port: u16, more: &[&str]) -> Result<(Agent, u16)> {
        let mut args = self.kept.args();
        let [socket, host_root] =
            [self.socket().0, self.dir.path().to_owned()].map(|path| path.display().to_string());
        let listen = format!("127.0.0.1:{port}");
        let own = [
            "--socket",
            &socket,
            "--host-root",
            &host_root,
            "--listen",
            &listen,
        ];
        args.extend(own.iter().chain(more).map(|word| (*word).to_owned()));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let agent = Launch::run(&args).keeping().start()?;
        agent.watches_cgroups()?;
        let at = agent.wait_for_line("can be asked at ")?;
        let port = at.rsplit_once("127.0.0.1:").context("no address")?.1;
        Ok((agent, port.trim().parse()?))
    }

    /// A kill in a pod, and its report, as they were told.
    pub(crate) fn kill_in_pod(
        &self,
        agent: &Agent,
        dies: Dies,
        limit: u64,
    ) -> Result<(Value, Value)> {
        let bundle = Bundle::in_pod(self.dir.path());
        bundle.write()?;
        let mut pod = Plain::run(
            &self.machine.hierarchy,
            &bundle.named,
            limit,
            &plain::payload()?,
            dies.args(),
        )?;
        let truth = play::die(&self.machine.hierarchy, &pod.container().clone(), None)?;
        let told = agent.wait_for_death(truth.victim.pid)?;
        pod.remove()?;
        Ok(told)
    }

    pub(crate) fn waits_for_row(&self, id: &Value) -> Result<()> {
        let row = format!("return document.querySelector('#rows tr[data-id={id}]') !== null");
        self.browser.wait("row", &row)?;
        Ok(())
    }

    /// The text of what this selector finds.
    pub(crate) fn text(&self, selector: &str) -> Result<String> {
        let script = format!("return document.querySelector({selector:?})?.textContent ?? ''");
        let found = self.browser.run(&script)?;
        Ok(found.as_str().unwrap_or_default().to_owned())
    }

    /// Nothing but what is expected where an agent is away, a token is wanted, or a pid is none.
    pub(crate) fn has_no_complaints(&self) -> Result<()> {
        let known = ["net::ERR_", "(Unauthorized)", "?pid=x&", "&pid=x&"];
        let bad = |line: &String| !known.iter().any(|known| line.contains(known));
        let bad: Vec<_> = self.browser.complaints()?.into_iter().filter(bad).collect();
        ensure!(bad.is_empty(), "{bad:#?}");
        Ok(())
    }
}
