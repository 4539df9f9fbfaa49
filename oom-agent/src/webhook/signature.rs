//! Signatures by which the other end knows that a request is of this agent, and of now.
//!
//! Reads the secret's file, and for each request its id, time and body; emits `webhook-signature` of Standard
//! Webhooks (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>):
//! `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`. Refuses secrets that are too short to be any.

use std::{fmt, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a key at least: what Standard Webhooks asks for.
const SHORTEST: usize = 24;

/// What such a secret begins with.
const PREFIX: &str = "whsec_";

/// The key.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It holds none.
    #[error("{path} holds no secret: it takes {PREFIX} and base64, of {SHORTEST} bytes at least")]
    Malformed {
        /// Which.
        path: String,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From a file.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let shown = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).ok_or(SecretError::Malformed { path: shown }),
            Err(source) => Err(SecretError::Read {
                path: shown,
                source,
            }),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.trim().strip_prefix(PREFIX)?).ok()?;
        if key.len() < SHORTEST {
            return None;
        }
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// `webhook-signature` of this.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // From the test of its reference library.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "a-password-of-more-than-24-bytes",
            "whsec_!",
        ] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
