//! TLS 1.2 and 1.3 by rustls, for TCP.
//!
//! Reads a chain of certificates and its key (PEM); emits what accepts connections. Refuses a key that is
//! another certificate's.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

use super::secret::{Secret, SecretError, warn_if_open};

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead to one that clients trust.
    pub cert: PathBuf,
    /// The key of the first one.
    pub key: PathBuf,
}

/// What accepts connections, as long as the files are what they were.
pub(super) type Tls = Secret<ServerConfig>;

/// Reads them.
pub(super) fn open(files: TlsFiles) -> Result<Tls, SecretError> {
    warn_if_open(&files.key);
    Secret::open(vec![files.cert.clone(), files.key.clone()], move || {
        config(&files)
    })
}

fn config(files: &TlsFiles) -> Result<ServerConfig, SecretError> {
    let TlsFiles { cert, key } = files;
    let wrong = |path: &PathBuf, what, error| match error {
        pem::Error::Io(error) => SecretError::read(path)(error),
        _ => SecretError::malformed(path, what),
    };
    let in_cert = |error| wrong(cert, "certificate in PEM", error);
    let chain = CertificateDer::pem_file_iter(cert).map_err(in_cert)?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(in_cert)?;
    if chain.is_empty() {
        return Err(SecretError::malformed(cert, "certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(key, "private key in PEM", error))?;
    // By name: other libraries may bring another one into the process.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rcgen::generate_simple_self_signed;

    use super::*;

    fn write(dir: &Path, name: &str) -> TlsFiles {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_certificate_and_its_key_are_taken_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (write(dir.path(), "one"), write(dir.path(), "two"));
        open(one.clone()).unwrap();
        let tell = |cert: &Path, key: &Path| {
            let files = TlsFiles {
                cert: cert.to_owned(),
                key: key.to_owned(),
            };
            crate::error::chain(&open(files).unwrap_err())
        };
        let said = tell(&one.cert, &two.key);
        assert!(said.contains("cannot be used"), "{said}");
        let said = tell(&one.key, &one.key);
        assert!(said.contains("one.key is no certificate"), "{said}");
        let said = tell(&one.cert, &one.cert);
        assert!(said.contains("one.crt is no private key"), "{said}");
        let said = tell(&dir.path().join("none"), &one.key);
        assert!(said.contains("cannot read"), "{said}");
        let empty = dir.path().join("empty");
        fs::write(&empty, "-----BEGIN CERTIFICATE-----\n!").unwrap();
        let said = tell(&empty, &one.key);
        assert!(said.contains("empty is no certificate"), "{said}");
    }
}
