//! Where the API server is, and as whom the agent speaks to it.
//!
//! Reads a kubeconfig, or what Kubernetes puts into a pod (`KUBERNETES_SERVICE_HOST` and the token of the
//! service account, which is replaced now and then and read again each minute). To be read before confinement.
//! Refuses what takes a program or a browser: a confined agent starts none.

use std::path::{Path, PathBuf};

use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Where the API server is, and what it is told.
#[derive(Clone, Debug)]
pub struct Credentials(Config);

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The kubeconfig.
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// What it asks for.
    #[error(
        "the kubeconfig {} asks for {what}, which a confined agent cannot do: use a token, a token file or a \
         client certificate",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// No pod, or one without a service account.
    #[error("not in a pod with a service account, and no --kubeconfig")]
    NotInCluster(#[from] Box<InClusterError>),
    /// Nothing can be read at all.
    #[error("cannot read them")]
    Io(#[from] std::io::Error),
}

impl Credentials {
    /// From a kubeconfig, or from the pod that the agent runs in.
    pub fn read(kubeconfig: Option<&Path>) -> Result<Self, CredentialsError> {
        let Some(path) = kubeconfig else {
            return Ok(Self(Config::incluster().map_err(Box::new)?));
        };
        let failed = |source| CredentialsError::Kubeconfig {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let read = Kubeconfig::read_from(path).map_err(failed)?;
        let options = KubeConfigOptions::default();
        // It only reads files; the library's way of doing so is asynchronous.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let config = runtime.block_on(Config::from_custom_kubeconfig(read, &options));
        let config = config.map_err(failed)?;
        let info = &config.auth_info;
        let unsupported = [
            ("a program (exec)", info.exec.is_some()),
            ("a provider (auth-provider)", info.auth_provider.is_some()),
            ("a proxy", config.proxy_url.is_some()),
        ];
        if let Some((what, _)) = unsupported.into_iter().find(|(_, asked)| *asked) {
            return Err(CredentialsError::Unsupported {
                path: path.to_owned(),
                what,
            });
        }
        Ok(Self(config))
    }

    pub(super) fn into_config(self) -> Config {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::chain;

    fn kubeconfig(user: &str) -> Result<Credentials, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"https://10.0.0.1:6443\"}}}}]\n\
             users: [{{name: u, user: {user}}}]\n"
        );
        fs::write(&path, text).unwrap();
        Credentials::read(Some(&path))
    }

    #[test]
    fn a_token_will_do() {
        let config = kubeconfig("{token: secret}").unwrap().into_config();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.1"));
        // Never in a log.
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn what_takes_a_program_is_refused() {
        let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}";
        let error = kubeconfig(exec).unwrap_err();
        assert!(error.to_string().contains("exec"), "{error}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = Credentials::read(Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(chain(&error).contains("/nonexistent"), "{error}");
    }
}
