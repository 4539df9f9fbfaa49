//! Events on standard output: one JSON object per line, or text for people.
//!
//! Runs on a thread of its own: a reader that does not read holds up this thread and nothing else.
//! A reader that has gone is said once; detection goes on.

use std::{
    io::{self, IsTerminal},
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
};

use super::text::{self, TextStyle};
use crate::{event::Event, hub::Subscription};

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts writing; `on_instance` is called after each report that was written.
pub fn spawn(
    subscription: Subscription,
    format: Format,
    mut on_instance: impl FnMut() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("stdout".into()).spawn(move || {
        let mut line = Vec::with_capacity(4096);
        let style = TextStyle {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ..TextStyle::default()
        };
        while let Ok(event) = subscription.events.recv() {
            line.clear();
            render(&event, format, style, &mut line);
            if let Err(error) = write_all(&line) {
                tracing::warn!(
                    "standard output is gone ({error}); events are no longer written there"
                );
                break;
            }
            if matches!(*event, Event::OomInstance(_)) {
                on_instance();
            }
        }
        let missed = subscription.missed.load(Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!("standard output was too slow: {missed} events were not written there");
        }
    })
}

fn render(event: &Event, format: Format, style: TextStyle, line: &mut Vec<u8>) {
    match format {
        Format::Text => {
            let mut text = String::new();
            match event {
                Event::OomKill(kill) => text::kill(kill, style, &mut text),
                Event::OomInstance(instance) => text::instance(instance, style, &mut text),
            }
            line.extend_from_slice(text.as_bytes());
        }
        Format::Json => {
            if let Err(error) = serde_json::to_writer(&mut *line, event) {
                tracing::error!("cannot write an event as JSON: {error}");
                line.clear();
                return;
            }
            line.push(b'\n');
        }
    }
}

/// Straight to the descriptor: the library's line buffer would copy every event once more.
fn write_all(mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_writable()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Somebody has made our standard output non-blocking.
fn wait_writable() -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = rustix::stdio::stdout();
    match poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
