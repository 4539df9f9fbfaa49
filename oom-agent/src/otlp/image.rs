//! The name of a container's image, in its parts.
//!
//! Reads a reference as runtimes have it (<https://github.com/distribution/reference>): `NAME[:TAG][@DIGEST]`, or the
//! id of an image alone; emits its parts. Pure. Refuses nothing: what has no such parts is a name.

/// The parts, as the semantic conventions have them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image<'a> {
    /// `container.image.name`: with the registry, without tag and digest.
    pub(super) name: &'a str,
    /// One of `container.image.tags`.
    pub(super) tag: &'a str,
    /// One of `container.image.repo_digests`: `NAME@DIGEST`.
    pub(super) repo_digest: String,
    /// `container.image.id`: a digest, of no repository.
    pub(super) id: &'a str,
}

impl<'a> Image<'a> {
    pub(super) fn of(reference: &'a str) -> Self {
        if is_digest(reference) {
            return Self {
                id: reference,
                ..Self::default()
            };
        }
        let (tagged, digest) = reference.split_once('@').unwrap_or((reference, ""));
        let path = tagged.rfind('/').map_or(0, |slash| slash + 1);
        // A colon before the path is that of the registry's port.
        let (name, tag) = match tagged[path..].rfind(':') {
            Some(colon) => (&tagged[..path + colon], &tagged[path + colon + 1..]),
            None => (tagged, ""),
        };
        Self {
            name,
            tag,
            repo_digest: match digest {
                "" => String::new(),
                digest => format!("{name}@{digest}"),
            },
            id: "",
        }
    }
}

/// `sha256:` and at least 32 hexadecimal digits, which no tag after a name is.
fn is_digest(reference: &str) -> bool {
    let digits = reference.split_once(':').map(|(_, digits)| digits);
    let is_hex = |it: &str| it.len() >= 32 && it.bytes().all(|byte| byte.is_ascii_hexdigit());
    ["sha256:", "sha512:"]
        .iter()
        .any(|it| reference.starts_with(it))
        && digits.is_some_and(is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_tags_and_digests() {
        for (name, tag) in [
            ("nginx", ""),
            ("nginx", "1.27"),
            ("docker.io/library/nginx", "1.27"),
            ("registry:5000/shop/cart", ""),
            ("registry:5000/shop/cart", "v2"),
            ("[::1]:5000/cart", "v2"),
        ] {
            let tagged = match tag {
                "" => name.to_owned(),
                tag => format!("{name}:{tag}"),
            };
            let wanted = |repo_digest| Image {
                name,
                tag,
                repo_digest,
                id: "",
            };
            assert_eq!(Image::of(&tagged), wanted(String::new()));
            let pinned = format!("{tagged}@{SHA}");
            assert_eq!(Image::of(&pinned), wanted(format!("{name}@{SHA}")));
        }
        let id = Image {
            id: SHA,
            ..Image::default()
        };
        assert_eq!(Image::of(SHA), id);
        assert_eq!(Image::of("sha256:1").name, "sha256");
    }

    proptest! {
        #[test]
        fn no_reference_is_too_strange(reference in "[a-zä:@/.]{0,12}") {
            let _ = Image::of(&reference);
        }
    }
}
