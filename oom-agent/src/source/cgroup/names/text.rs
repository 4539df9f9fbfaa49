//! Words of runtimes: which are kept, and which may be a part of a path.
//!
//! Reads a word; emits it, or nothing if it is empty. Refuses those longer than any runtime takes.

use crate::evidence::Unreadable;

/// Names and namespaces of pods, names of containers (RFC 1123, and generous for docker's).
pub(super) const NAME: usize = 253;
/// Repository (255), tag (128) and digest (71) of an image.
pub(super) const IMAGE: usize = 512;

/// A word that says something.
pub(super) fn kept(word: Option<String>, most: usize) -> Result<Option<String>, Unreadable> {
    match word {
        Some(word) if word.len() > most => Err(Unreadable::Malformed),
        word => Ok(word.filter(|word| !word.is_empty())),
    }
}

/// Whether it can be the id of a container or a namespace of containerd, and so the name of its
/// directory: what runc and crun take, which is more than what containerd does.
pub(super) fn is_name(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    (1..=NAME).contains(&word.len()) && !word.starts_with('.') && word.bytes().all(allowed)
}

/// 64 hexadecimal digits: made by a runtime, and not chosen by anybody.
pub(super) fn is_random(id: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 64 && id.bytes().all(digit)
}
