//! What `oom-agent run` takes about events of Kubernetes.

use std::path::PathBuf;

use clap::Args;

use crate::kubernetes::Options;

#[derive(Debug, Args)]
pub(super) struct KubernetesArgs {
    /// Post kills as events of Kubernetes: on the pod that a process died in, and on the node that ran out of
    /// memory. The name of the node must be that of Kubernetes (--node).
    #[arg(long)]
    kubernetes: bool,
    /// Where the API server is and as whom to speak to it, instead of the service account of the agent's pod.
    #[arg(long, value_name = "PATH", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
}

impl KubernetesArgs {
    pub(super) fn options(self) -> Option<Options> {
        self.kubernetes.then_some(Options {
            kubeconfig: self.kubeconfig,
        })
    }
}
