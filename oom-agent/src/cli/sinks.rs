//! What `oom-agent run` takes about those to whom events are delivered.

#[cfg(feature = "kubernetes")]
use std::path::PathBuf;

use clap::Args;

#[cfg(feature = "nats")]
use super::nats::RunArgs as NatsArgs;

use crate::daemon::SinkOptions;
#[cfg(feature = "kubernetes")]
use crate::kubernetes;

#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(super) struct SinkArgs {
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    #[cfg(feature = "nats")]
    #[command(flatten)]
    nats: NatsArgs,
}

#[cfg(feature = "kubernetes")]
#[derive(Debug, Args)]
struct KubernetesArgs {
    /// Post kills as events of Kubernetes: on the pod that a process died in, and on the node that ran out of
    /// memory. The name of the node must be that of Kubernetes (--node).
    #[arg(long)]
    kubernetes: bool,
    /// Where the API server is and as whom to speak to it, instead of the service account of the agent's pod.
    #[arg(long, value_name = "PATH", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
}

impl From<SinkArgs> for SinkOptions {
    #[cfg_attr(
        not(any(feature = "kubernetes", feature = "nats")),
        expect(unused_variables, reason = "there is none in this build")
    )]
    fn from(args: SinkArgs) -> Self {
        Self {
            #[cfg(feature = "kubernetes")]
            kubernetes: (args.kubernetes.kubernetes).then_some(kubernetes::Options {
                kubeconfig: args.kubernetes.kubeconfig,
            }),
            #[cfg(feature = "nats")]
            nats: args.nats.options(),
        }
    }
}
