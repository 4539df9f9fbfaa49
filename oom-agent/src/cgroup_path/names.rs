//! Names of cgroups, taken apart strictly: ids, users, systemd's units and escapes.
//!
//! Reads one name, or a name and its parent's; emits what it says, or nothing. Refuses ids of another
//! length or in capitals, and slices that do not stand where systemd puts them.

use std::{borrow::Cow, str};

use crate::event::Runtime;

/// What runtimes write before the id in the name of a scope.
const RUNTIMES: [(&str, Runtime); 5] = [
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("crio-", Runtime::Crio),
    ("libpod-", Runtime::Podman),
];

/// Whether this is the id of a container: 64 hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// Lower case only, as every runtime writes it.
pub(super) fn is_hex(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.bytes().all(digit)
}

/// What the name of a scope says of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    Container(Runtime, &'a str),
    /// It begins like one of a runtime's, and has no id of a container.
    LookAlike,
    /// Of anything else; the monitor (conmon) of a container is not the container.
    Other,
}

/// `docker-<id>.scope` and the like.
pub(super) fn scope(name: &str) -> Scope<'_> {
    let Some(stem) = name.strip_suffix(".scope") else {
        return Scope::Other;
    };
    let said = RUNTIMES
        .iter()
        .find_map(|(prefix, runtime)| Some((*runtime, stem.strip_prefix(prefix)?)));
    match said {
        Some((runtime, id)) if is_id(id) => Scope::Container(runtime, id),
        Some((_, rest)) if rest.strip_prefix("conmon-").is_some_and(is_id) => Scope::Other,
        Some(_) => Scope::LookAlike,
        None => Scope::Other,
    }
}

/// Whether systemd would put a slice of this name below `parent`: `a-b.slice` is in `a.slice`, and
/// `a.slice` in none.
pub(super) fn is_slice(name: &str, parent: Option<&str>) -> bool {
    let Some(stem) = name.strip_suffix(".slice") else {
        return false;
    };
    let parent = parent.and_then(|parent| parent.strip_suffix(".slice"));
    match stem.rsplit_once('-') {
        Some((above, last)) => !last.is_empty() && parent == Some(above),
        None => !stem.is_empty() && parent.is_none(),
    }
}

/// Units of systemd other than slices that have a cgroup.
pub(super) fn is_unit(name: &str) -> bool {
    const SUFFIXES: [&str; 5] = ["service", "scope", "mount", "socket", "swap"];
    let parts = name.rsplit_once('.');
    parts.is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix))
}

/// `session-3.scope`: somebody logged in.
pub(super) fn is_session(name: &str) -> bool {
    let scope = name.strip_suffix(".scope");
    scope.is_some_and(|stem| stem.starts_with("session-"))
}

/// The number in `uid_1000`, `user-1000.slice`, `job_42`: decimal, as those that wrote it print it.
pub(super) fn number(name: &str, before: &str, after: &str) -> Option<u32> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Takes back systemd's `\xNN`. What is not such an escape, or no text afterwards, stays as it is.
pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let code = rest.strip_prefix(b"\\x").and_then(|code| code.get(..2));
        let code = code.and_then(|code| str::from_utf8(code).ok());
        let code = code
            .filter(|code| is_hex(code))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &rest[4..] } else { more };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(name), Cow::Owned)
}
