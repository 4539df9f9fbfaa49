//! Whom to trust: the certificates of authorities in a file, or those of the host.
//!
//! Reads PEM (RFC 7468), or what the host has (`SSL_CERT_FILE`, `SSL_CERT_DIR`, /etc/ssl and the like); to be read before
//! confinement. Emits configurations for TLS. Refuses a file without certificates.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem, pem::PemObject as _},
};

use super::OutboundError;

/// Authorities that are trusted.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Those in this file and nobody else, or those of the host.
    pub fn read(file: Option<&Path>) -> Result<Self, OutboundError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = file {
            let failed = |error: pem::Error| match error {
                pem::Error::Io(source) => OutboundError::File {
                    path: path.to_owned(),
                    source,
                },
                other => OutboundError::malformed(path, other.to_string()),
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                roots
                    .add(certificate.map_err(failed)?)
                    .map_err(|error| OutboundError::File {
                        path: path.to_owned(),
                        source: io::Error::other(error),
                    })?;
            }
            if roots.is_empty() {
                return Err(OutboundError::malformed(path, "no certificate in it"));
            }
        } else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(OutboundError::NoRoots(errors.join("; ")));
            }
        }
        Ok(Self(Arc::new(roots)))
    }

    /// None: for whoever speaks no TLS.
    #[must_use]
    pub fn nobody() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }

    /// For TLS as a client.
    pub fn client(&self) -> Result<ClientConfig, OutboundError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        Ok(config)
    }

    /// The same as a list.
    pub fn anchors(&self) -> impl Iterator<Item = rustls::pki_types::TrustAnchor<'static>> {
        self.0.roots.iter().cloned()
    }
}
