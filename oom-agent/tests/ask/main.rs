//! The commands that ask, and the client behind them: on a store, and on a server that says what a test
//! wants it to say.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests and what they are made of"
)]

mod client;
mod commands;
mod kept;
mod server;
