//! The commands that ask, and the client behind them: on a store, and on a server that says what a test
//! wants it to say.

mod client;
mod commands;
mod kept;
mod server;
