//! A client of the agent's API, as small as can be: HTTP/1.0 over a Unix socket, where an answer ends with the
//! connection and nothing is chunked.
//!
//! Emits answers, and lines of those that do not end. Refuses to wait without a deadline.

use std::{
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent::DEADLINE;

/// The agent's socket.
#[derive(Clone, Debug)]
pub struct Socket(pub PathBuf);

/// The lines of an answer that does not end.
#[derive(Debug)]
pub struct Stream {
    lines: Lines<BufReader<UnixStream>>,
    /// The last that was told.
    id: Option<Place>,
}

/// A place in a stream.
#[derive(Clone, Debug)]
pub struct Place {
    /// As it was told, to come back to.
    pub id: String,
    /// The number of its event in the store.
    pub seq: i64,
}

impl Socket {
    fn send(&self, path: &str, fields: &str) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.0).context("connect")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut answer = String::new();
        self.send(path, "")?.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.get(9..12).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// An answer that is good, as JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "{path}: {status} {body}");
        serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
    }

    /// An answer that does not end; it has begun when this returns.
    pub fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<Stream> {
        let id = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let stream = self.send(path, &id.unwrap_or_default())?;
        let mut lines = Stream {
            lines: BufReader::new(stream).lines(),
            id: None,
        };
        let status = lines.next_line()?;
        ensure!(status.get(9..12) == Some("200"), "{path}: {status}");
        while !lines.next_line()?.is_empty() {}
        Ok(lines)
    }
}

impl Stream {
    /// The next line, without its end.
    pub fn next_line(&mut self) -> Result<String> {
        let line = self.lines.next().context("the stream has ended")??;
        if let Some(id) = line.strip_prefix("id: ") {
            let (_, seq) = id.split_once('.').context("an id without a store")?;
            self.id = Some(Place {
                seq: seq.parse()?,
                id: id.to_owned(),
            });
        }
        Ok(line)
    }

    /// Lines until so many are JSON that `found` wants, where they begin with `prefix`.
    pub fn wait_for(
        &mut self,
        prefix: &str,
        many: usize,
        found: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let end = Instant::now() + DEADLINE;
        let mut all = Vec::new();
        while all.len() < many {
            ensure!(Instant::now() < end, "no more than {all:#?}");
            let line = self.next_line()?;
            let text = line.strip_prefix(prefix).unwrap_or_default();
            if text.starts_with('{') {
                let value = serde_json::from_str(text);
                let value = value.with_context(|| format!("not JSON: {line}"))?;
                all.extend(Some(value).filter(&found));
            }
        }
        Ok(all)
    }

    /// Waits until the agent ends it.
    pub fn wait_for_end(&mut self) -> Result<()> {
        for line in &mut self.lines {
            line.context("no end")?;
        }
        Ok(())
    }

    /// Waits until everything up to this number has been told.
    pub fn wait_for_id(&mut self, at_least: i64) -> Result<Place> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(place) = self.id.as_ref().filter(|place| place.seq >= at_least) {
                return Ok(place.clone());
            }
            ensure!(Instant::now() < end, "no id {at_least}, but {:?}", self.id);
            self.next_line()?;
        }
    }
}
