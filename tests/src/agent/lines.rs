//! What a child process writes, line by line, while it runs.

use std::{
    fmt::{self, Display},
    io::{BufRead as _, BufReader, Read},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::watched::Watched;

/// The lines of a pipe, as another thread reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Watched<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) lines: Vec<String>,
    pub(super) closed: bool,
}

impl Lines {
    /// Reads a pipe to its end.
    pub(super) fn collect(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let shared = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut closed = false;
            while !closed {
                let mut line = Vec::new();
                let read = pipe.read_until(b'\n', &mut line);
                closed = matches!(read, Ok(0) | Err(_));
                shared.change(|state| {
                    state.closed = closed;
                    if !closed {
                        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                        state.lines.push(line);
                    }
                });
            }
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.lock().lines.len()
    }

    /// The lines from number `n` on.
    pub(super) fn after(&self, n: usize) -> Vec<String> {
        self.0.lock().lines[n..].to_vec()
    }

    /// Waits for a condition; false if it did not come true in time.
    pub(super) fn wait(&self, timeout: Duration, met: impl Fn(&State) -> bool) -> bool {
        self.0.wait(timeout, met).1
    }
}

impl Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after(0).join("\n"))
    }
}
