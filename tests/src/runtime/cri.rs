//! Pods as the kubelet makes them: through containerd's Container Runtime Interface.
//!
//! A small client (gRPC on containerd's socket) makes a pod in `/kubepods/burstable/pod<UID>`, in the network
//! of the node, and containers in it. Refuses what containerd refuses.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use oom_agent::event::{LimitLevel, Owner, OwnerKind, Pod as PodOwner, Qos, Runtime};
use prost::Message;
use tokio::runtime::{Builder, Runtime as Tokio};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    Container, IMAGE, Running,
    containerd::Containerd,
    cri_messages::{
        ContainerConfig, ContainerMetadata, CreateContainer, Id, ImageFound, ImageSpec,
        ImageStatus, LinuxContainer, LinuxPod, NamespaceOptions, Nothing, PodConfig, PodMetadata,
        Resources, RunPod, SandboxSecurity,
    },
    play, traces,
};

const NODE: i32 = 2;

/// A connection.
#[derive(Debug)]
pub struct Cri<'a> {
    daemon: &'a Containerd,
    tokio: Tokio,
    channel: Channel,
}

impl<'a> Cri<'a> {
    /// Connects, and waits until the images are known there, too.
    pub fn connect(daemon: &'a Containerd) -> Result<Self> {
        let tokio = Builder::new_current_thread().enable_all().build()?;
        let address = format!("unix:{}", daemon.socket().display());
        let endpoint = Endpoint::from_shared(address)?;
        let channel = tokio.block_on(endpoint.connect())?;
        let cri = Self {
            daemon,
            tokio,
            channel,
        };
        let image = ImageStatus {
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
        };
        play::soon("image in the CRI's store", || {
            let found = cri.call("ImageService/ImageStatus", image.clone());
            found.ok().and_then(|found: ImageFound| found.image)
        })?;
        Ok(cri)
    }

    /// One call, `SERVICE/METHOD`.
    fn call<Q, R>(&self, method: &str, request: Q) -> Result<R>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let path: PathAndQuery = format!("/runtime.v1.{method}").parse()?;
        let mut client = Grpc::new(self.channel.clone());
        let response = self.tokio.block_on(async {
            client.ready().await?;
            let codec = ProstCodec::<Q, R>::default();
            let response = client.unary(Request::new(request), path, codec).await;
            anyhow::Ok(response?)
        });
        Ok(response.context(method.to_owned())?.into_inner())
    }

    /// A call about the pod or container with this id.
    fn about(&self, method: &str, id: &str) -> Result<()> {
        let id = Id { id: id.to_owned() };
        self.call(method, id).map(|Nothing {}| ())
    }

    /// Makes a pod.
    pub fn pod(&self) -> Result<Pod<'_>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let metadata = PodMetadata {
            name: format!("cart-{number}"),
            uid: fs::read_to_string("/proc/sys/kernel/random/uuid")?
                .trim()
                .to_owned(),
            namespace: "shop".to_owned(),
        };
        let path = format!("/kubepods/burstable/pod{}", metadata.uid);
        let owner = PodOwner {
            namespace: Some(metadata.namespace.clone()),
            name: Some(metadata.name.clone()),
            uid: metadata.uid.clone(),
            qos: Some(Qos::Burstable),
        };
        let config = PodConfig {
            metadata: Some(metadata),
            linux: Some(LinuxPod {
                cgroup_parent: path.clone(),
                security_context: Some(SandboxSecurity {
                    namespace_options: Some(NamespaceOptions { network: NODE }),
                }),
            }),
        };
        let request = RunPod {
            config: Some(config.clone()),
        };
        let Id { id } = self.call("RuntimeService/RunPodSandbox", request)?;
        Ok(Pod {
            cri: self,
            id,
            path,
            config,
            owner,
            removed: false,
        })
    }
}

/// A pod; removed when dropped.
#[derive(Debug)]
pub struct Pod<'a> {
    cri: &'a Cri<'a>,
    id: String,
    path: String,
    config: PodConfig,
    owner: PodOwner,
    removed: bool,
}

impl Pod<'_> {
    /// The path of its cgroup.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The container that holds its namespaces: it has no name in the pod, and its image is containerd's
    /// affair.
    pub fn pause(&self) -> Result<Container> {
        self.container(&self.id, None, None)
    }

    /// Starts a container; without a limit of its own where `limit` is 0.
    pub fn run(&self, name: &str, args: &[&str], limit: u64) -> Result<CriContainer<'_>> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            linux: Some(LinuxContainer {
                resources: Some(Resources {
                    memory_limit_in_bytes: limit.try_into()?,
                }),
            }),
        };
        let request = CreateContainer {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let Id { id } = self.cri.call("RuntimeService/CreateContainer", request)?;
        self.cri.about("RuntimeService/StartContainer", &id)?;
        let container = self.container(&id, Some(name), Some(IMAGE))?;
        Ok(CriContainer {
            cri: self.cri,
            id,
            container,
        })
    }

    fn container(&self, id: &str, name: Option<&str>, image: Option<&str>) -> Result<Container> {
        let owner = Owner {
            runtime: Some(Runtime::Containerd),
            container_id: Some(id.to_owned()),
            container_name: name.map(str::to_owned),
            image: image.map(str::to_owned),
            pod: Some(self.owner.clone()),
            ..Owner::of(OwnerKind::Container)
        };
        let hierarchy = &self.cri.daemon.stage().machine.hierarchy;
        let path = format!("{}/{id}", self.path);
        Container::at(hierarchy, &path, owner, LimitLevel::Container)
    }

    /// Takes it away, with all its containers.
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        self.remove_now()
    }

    fn remove_now(&self) -> Result<()> {
        self.cri.about("RuntimeService/StopPodSandbox", &self.id)?;
        self.cri.about("RuntimeService/RemovePodSandbox", &self.id)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let hierarchy = &self.cri.daemon.stage().machine.hierarchy;
        if let Some(dir) = hierarchy.dir_of(&self.path) {
            traces::end_all(&dir);
        }
        if let Err(error) = self.remove_now() {
            eprintln!("left behind: pod {}: {error:#}", self.path);
        }
    }
}

/// A container of a pod; removed with it at the latest.
#[derive(Debug)]
pub struct CriContainer<'a> {
    cri: &'a Cri<'a>,
    id: String,
    container: Container,
}

impl Running for CriContainer<'_> {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        self.cri.about("RuntimeService/StopContainer", &self.id)?;
        self.cri.about("RuntimeService/RemoveContainer", &self.id)
    }
}
