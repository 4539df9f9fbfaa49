//! A connection to an agent: a Unix socket, TCP, or TLS over it.
//!
//! Reads a path or a URL; emits a stream of bytes. Refuses TLS without saying whose certificates are
//! trusted, and a token over a connection that anybody can read.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use hyper::{Uri, header::HeaderValue};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::ClientError;

/// A host that does not answer is given up after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where an agent listens.
#[derive(Clone, Debug)]
pub enum Server {
    /// On a Unix socket.
    Unix(PathBuf),
    /// On the network.
    Tcp(Tcp),
}

/// An agent on the network.
#[derive(Clone)]
pub struct Tcp {
    url: Url,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    token: Option<HeaderValue>,
}

/// `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
}

/// A text that is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not http://HOST:PORT or https://HOST:PORT: {0:?}")]
pub struct NoUrl(String);

impl FromStr for Url {
    type Err = NoUrl;

    fn from_str(text: &str) -> Result<Self, NoUrl> {
        let parts = || {
            let uri: Uri = text.parse().ok()?;
            let tls = match uri.scheme_str()? {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let authority = uri.authority()?;
            let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
            (bare && !authority.as_str().contains('@')).then_some(())?;
            Some(Self {
                tls,
                host: authority.host().to_owned(),
                port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            })
        };
        parts().ok_or_else(|| NoUrl(text.to_owned()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Url {
    /// Nothing leaves this machine.
    fn is_local(&self) -> bool {
        let address = self.host().parse::<IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }

    /// Of the name or address alone, without the brackets of IPv6.
    fn host(&self) -> &str {
        let bare = self.host.strip_prefix('[');
        bare.and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tcp").field(&self.url).finish()
    }
}

impl Tcp {
    /// Reads the token, and the certificates that are trusted.
    pub fn new(
        url: Url,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let refused = |path: &Path, text: &str| ClientError::Config {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, text),
        };
        let token = token_file.map(|path| {
            if !url.tls && !url.is_local() {
                return Err(refused(path, "a token is told over https only"));
            }
            let text = fs::read_to_string(path).map_err(|source| ClientError::Config {
                path: path.to_owned(),
                source,
            })?;
            let mut token = HeaderValue::try_from(format!("Bearer {}", text.trim()))
                .map_err(|_| refused(path, "it holds no token"))?;
            token.set_sensitive(true);
            Ok::<_, ClientError>(token)
        });
        let tls = match (url.tls, ca_file) {
            (false, _) => None,
            (true, Some(path)) => {
                let name = ServerName::try_from(url.host().to_owned());
                let name = name.map_err(|_| refused(path, "the host is no name for TLS"))?;
                Some((Arc::new(trusting(path)?), name))
            }
            (true, None) => return Err(ClientError::Untrusted(url)),
        };
        Ok(Self {
            url,
            tls,
            token: token.transpose()?,
        })
    }
}

/// Trusts what these certificates have signed, and nothing else.
fn trusting(path: &Path) -> Result<ClientConfig, ClientError> {
    let failed = |source| ClientError::Config {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| failed(other(e)))?;
    for certificate in certificates {
        roots.add(certificate.map_err(|e| failed(other(e)))?)?;
    }
    if roots.is_empty() {
        return Err(failed(other("there is no certificate in it")));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Server {
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match self {
            Self::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) => Err(not_connected(path, source)),
            },
            Self::Tcp(tcp) => {
                let silent = |_| ClientError::Silent(tcp.url.to_string());
                timeout(PATIENCE, tcp.connect()).await.map_err(silent)?
            }
        }
    }

    /// Who it is, in requests.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp(tcp) => format!("{}:{}", tcp.url.host, tcp.url.port),
        }
    }

    pub(super) fn token(&self) -> Option<&HeaderValue> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(tcp) => tcp.token.as_ref(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(tcp) => tcp.url.fmt(f),
        }
    }
}

impl Tcp {
    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let failed = |source| ClientError::Connect {
            to: self.url.to_string(),
            source,
        };
        let to = (self.url.host(), self.url.port);
        let stream = TcpStream::connect(to).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let tls = TlsConnector::from(config.clone());
        let tls = tls.connect(name.clone(), stream).await.map_err(failed)?;
        Ok(Box::new(tls))
    }
}

fn not_connected(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { socket, source }
        }
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket },
        _ => ClientError::Connect {
            to: socket.display().to_string(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, expected) in [
            ("http://node:9100", Some("http://node:9100")),
            ("https://node", Some("https://node:443")),
            ("http://[::1]:80/", Some("http://[::1]:80")),
            ("http://10.0.0.7", Some("http://10.0.0.7:80")),
            ("node:9100", None),
            ("ftp://node", None),
            ("http://", None),
            ("http://node/v1", None),
            ("http://node/?a=b", None),
            ("http://user@node", None),
        ] {
            let url = text.parse::<Url>().ok().map(|url| url.to_string());
            assert_eq!(url.as_deref(), expected, "{text}");
        }
        assert_eq!("http://[::1]".parse::<Url>().unwrap().host(), "::1");
    }
}
