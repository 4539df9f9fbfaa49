//! Where a sink's requests go, on a command line.
//!
//! Reads an address; refuses what is none, and says which option it was for and nothing of the text: somebody may
//! have put a password into it, and what is said goes to a log.

use std::ffi::OsStr;

use clap::{
    Arg, Command,
    builder::TypedValueParser,
    error::{Error, ErrorKind},
};

use crate::outbound::{Endpoint, NoEndpoint};

#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Endpoint;

    fn parse_ref(
        &self,
        command: &Command,
        option: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Endpoint, Error> {
        let endpoint = value.to_str().ok_or(NoEndpoint).and_then(str::parse);
        endpoint.map_err(|error| {
            let option = option.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{option}': {error}\n");
            Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_shown() {
        let option = Arg::new("webhook")
            .long("webhook")
            .value_name("URL")
            .value_parser(EndpointParser);
        let command = Command::new("test").arg(option);
        let given = [
            "test",
            "--webhook",
            "https://user:secret@example.org/x?key=secret",
        ];
        let error = command.try_get_matches_from(given).unwrap_err().to_string();
        assert!(error.contains("'--webhook <URL>'"), "{error}");
        assert!(
            !error.contains("secret") && !error.contains("user"),
            "{error}"
        );
    }
}
