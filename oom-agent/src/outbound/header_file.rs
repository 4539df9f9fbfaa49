//! Headers that hold secrets: one `Name: value` on a line.
//!
//! Reads a file, for arguments and the environment can be read by others; emits headers that are never logged.
//! Refuses lines that are none. Empty lines, and those that begin with `#`, are left out.

use std::{fs, path::Path};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::OutboundError;

/// Reads it.
pub fn read(path: &Path) -> Result<HeaderMap, OutboundError> {
    let text = fs::read_to_string(path).map_err(|source| OutboundError::File {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|line| {
        // Not the line: it is a secret.
        OutboundError::malformed(path, format!("line {line} is not `Name: value`"))
    })
}

/// The headers, or the number of the line that is none.
fn parse(text: &str) -> Result<HeaderMap, usize> {
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = line.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value: HeaderValue = value.trim().parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) = header.ok_or(at + 1)?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_never_shown() {
        let headers = parse("# of the collector\n\nApi-Key:  secret:1 \nx-scope: a\n").unwrap();
        assert_eq!(headers["api-key"], "secret:1");
        assert_eq!(headers.len(), 2);
        assert!(!format!("{headers:?}").contains("secret"));
        assert_eq!(parse("a: b\nnonsense").unwrap_err(), 2);
        assert_eq!(parse("a b: c").unwrap_err(), 1);
    }
}
