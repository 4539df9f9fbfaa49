//! A real browser without a screen: Chromium, led by its driver over `WebDriver` (<https://www.w3.org/TR/webdriver2/>).
//!
//! Starts `chromedriver`; emits what scripts in the page find, and what the browser complains of. Refuses to wait
//! without a deadline. Ends what it has started when it is dropped.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{agent::DEADLINE, machine};

/// Between two looks at the page.
const LOOK: Duration = Duration::from_millis(25);

/// What Chromium is started with: no sandbox, for root has none, and nobody is asked on the network.
const ARGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1360,900",
];

/// The browser, with one window.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    /// Held open: it says more.
    _stdout: BufReader<ChildStdout>,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts it. `None`, after saying so, where there is none.
    pub fn start() -> Result<Option<Self>> {
        if !machine::has_program("chromedriver")? {
            return Ok(None);
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver")?;
        let stdout = driver.stdout.take().context("stdout")?;
        let mut stdout = BufReader::new(stdout);
        let port = port(&mut stdout)?;
        let profile = tempfile::tempdir()?;
        let mut args: Vec<_> = ARGS.map(str::to_owned).into();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Self {
            driver,
            _stdout: stdout,
            port,
            session: String::new(),
            _profile: profile,
        };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.send("POST", "/session", Some(&wanted))?;
        let id = made["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{id}");
        Ok(Some(browser))
    }

    /// Goes to an address.
    pub fn open(&self, url: &str) -> Result<()> {
        self.tell("/url", &json!({ "url": url }))?;
        Ok(())
    }

    /// One page back.
    pub fn back(&self) -> Result<()> {
        self.tell("/back", &json!({}))?;
        Ok(())
    }

    /// What the body of a function comes to in the page.
    pub fn run(&self, body: &str) -> Result<Value> {
        self.tell("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until it comes to something that is neither false, null, 0 nor empty.
    pub fn wait(&self, what: &str, body: &str) -> Result<Value> {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.run(body)?;
            let is_empty = match &found {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                Value::Number(number) => number.as_f64() == Some(0.0),
                _ => false,
            };
            if !is_empty {
                return Ok(found);
            }
            if Instant::now() > end {
                let page = self.run("return document.body.innerText")?;
                bail!(
                    "no {what} on the page:\n{}\n{:?}",
                    page.as_str().unwrap_or_default(),
                    self.complaints()
                );
            }
            thread::sleep(LOOK);
        }
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &str) -> Result<()> {
        let actions = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key.to_string() }))
        });
        let actions: Vec<_> = actions.collect();
        let device = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.tell("/actions", &json!({ "actions": [device] }))?;
        Ok(())
    }

    /// Clicks what this CSS selector finds first.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.tell(
            "/element",
            &json!({ "using": "css selector", "value": selector }),
        )?;
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str).context("no element")?;
        self.tell(&format!("/element/{id}/click"), &json!({}))?;
        Ok(())
    }

    /// A command of the browser's own protocol (`DevTools`).
    pub fn command(&self, name: &str, params: &Value) -> Result<Value> {
        self.tell(
            "/goog/cdp/execute",
            &json!({ "cmd": name, "params": params }),
        )
    }

    /// What the browser has complained of since it was asked last.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.tell("/se/log", &json!({ "type": "browser" }))?;
        let lines = log.as_array().context("log")?.iter();
        Ok(lines
            .filter_map(|line| line["message"].as_str().map(str::to_owned))
            .collect())
    }

    /// What is seen of the window, as a PNG.
    pub fn picture(&self, path: &Path) -> Result<()> {
        let picture = self.send("GET", &format!("{}/screenshot", self.session), None)?;
        let picture = picture.as_str().context("picture")?;
        fs::write(path, decoded(picture))?;
        Ok(())
    }

    fn tell(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", &format!("{}{path}", self.session), Some(body))
    }

    /// One request; its value.
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("chromedriver")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = body.map_or_else(String::new, Value::to_string);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status)?;
        // The driver keeps the connection open, whatever it is asked.
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            match line.strip_prefix("content-length:") {
                Some(bytes) => length = bytes.trim().parse()?,
                None if line.is_empty() => break,
                None => {}
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        let mut answer: Value = serde_json::from_slice(&answer).context("not JSON")?;
        let status = status.get(9..12).unwrap_or_default();
        ensure!(status == "200", "{path}: {status} {}", answer["value"]);
        Ok(answer["value"].take())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It ends Chromium, which has children of its own.
            let _ = self.send("DELETE", &self.session.clone(), None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Which port the driver has taken.
fn port(lines: impl BufRead) -> Result<u16> {
    for line in lines.lines() {
        if let Some((_, port)) = line?.split_once("successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver does not say on which port it listens")
}

/// Base64 (RFC 4648) of somebody who knows how to write it.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut many) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        many += 6;
        if many >= 8 {
            many -= 8;
            bytes.push((bits >> many).to_le_bytes()[0]);
        }
    }
    bytes
}
