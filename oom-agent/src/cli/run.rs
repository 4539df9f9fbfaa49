//! `oom-agent run`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    EXIT_HELD, EXIT_NO_BPF, EXIT_NO_SOURCE, fail, metrics::MetricsArgs, say_at_the_end,
    serve::ServeArgs, sinks::SinkArgs,
};
use crate::{
    api,
    attribute::ContainerEvents,
    bpf::{decision::WantedHook, pins::PIN_PATH},
    confine::{self, Guard},
    correlate::Timing,
    daemon::{self, CgroupWatch, HelperOptions, Options, RunError, Sources, StoreOptions},
    stdout::Format,
    store::Retention,
};

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each switch of the command line"
)]
pub(super) struct RunArgs {
    /// Where evidence may come from.
    #[arg(long, value_enum, default_value = "auto")]
    source: Sources,
    /// Fail rather than watch the kernel log alone.
    #[arg(long)]
    require_bpf: bool,
    /// How events are written to standard output.
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    /// Stop after the first report.
    #[arg(long)]
    once: bool,
    /// Size of the ring buffer in bytes; rounded up to a power of two of at least a page.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    ring_bytes: u32,
    /// How to watch cgroups, for the names of containers and what their memory did before a kill.
    #[arg(long, value_enum, default_value = "auto")]
    cgroup_watch: CgroupWatch,
    /// Do not record what the memory of containers does.
    #[arg(long)]
    no_memory_history: bool,
    /// Where the host's files are: what container runtimes leave on disk is read below it.
    #[arg(long, value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// Of which cgroups to tell that they came and went.
    #[arg(long, value_enum, default_value = "containers")]
    container_events: ContainerEvents,
    /// Where events are kept: a database of SQLite. `none`: nowhere.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/oom-agent/events.db"
    )]
    store: PathBuf,
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Keep events this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    keep_days: u32,
    /// Keep this many events of each kind.
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keep_events: u64,
    /// Keep this many MiB of each kind of event.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    keep_mib: u64,
    /// How far back the log is read when the agent first starts in a boot: what it finds is kept as history
    /// and never told as an alert.
    #[arg(long, value_enum, default_value = "boot")]
    backfill: Backfill,
    /// Name of this node in the events, instead of the host's name.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: Option<String>,
    /// Name of the cluster that this node is of, in the events.
    #[arg(long, env = "CLUSTER_NAME", value_name = "NAME")]
    cluster: Option<String>,
    /// Close a report at the latest after this many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    window_ms: u64,
    /// A victim that has not ended so many seconds after its mark is told to be stuck; 0: none is.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    stuck_after: u64,
    /// Protections of the agent itself that are not wanted.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,…")]
    without: Vec<Guard>,
    /// How soon the kernel would kill the agent for memory, -1000 (never) to 1000. One that is lower already is
    /// kept.
    #[arg(long, value_name = "N", default_value_t = confine::WANTED_SCORE, allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    oom_score_adj: i16,
    /// Let the kernel side write debug lines into the agent's log.
    #[arg(long)]
    debug_bpf: bool,
    /// Where the kernel side outlives the agent: a directory in a BPF file system, or "none".
    #[arg(long, value_name = "DIR", default_value = PIN_PATH)]
    pin_path: PathBuf,
    /// End another agent that reads the same pins, and go on in its place.
    #[arg(long)]
    take_over: bool,
    /// What records carry as their version. For tests only.
    #[arg(long, hide = true, default_value_t = oom_common::WIRE_VERSION)]
    wire_version: u16,
    /// Use the classic tracepoint even where the kernel offers better. For tests only.
    #[arg(long, hide = true)]
    bpf_by_format: bool,
    /// How to hook the decision. For tests only.
    #[arg(long, hide = true, value_enum, default_value = "best")]
    bpf_hook: WantedHook,
    /// Take log records that the kernel did not write for the kernel's. For tests only.
    #[arg(long, hide = true)]
    accept_forged_kmsg: bool,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    sinks: SinkArgs,
}

impl RunArgs {
    pub(super) fn without(&self) -> &[Guard] {
        &self.without
    }
}

/// How far back the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Backfill {
    /// As far as it reaches, in this boot.
    Boot,
    /// Not at all.
    None,
}

pub(super) fn main(args: RunArgs) -> ExitCode {
    let window_ns = args.window_ms * 1_000_000;
    let timing = Timing::default();
    let options = Options {
        sources: args.source,
        require_bpf: args.require_bpf,
        output: args.output,
        once: args.once,
        ring_bytes: args.ring_bytes,
        debug_bpf: args.debug_bpf,
        bpf_by_format: args.bpf_by_format,
        bpf_hook: args.bpf_hook,
        pin_path: (args.pin_path != Path::new("none")).then_some(args.pin_path),
        take_over: args.take_over,
        wire_version: args.wire_version,
        accept_forged: args.accept_forged_kmsg,
        helpers: HelperOptions {
            watch: args.cgroup_watch,
            memory: !args.no_memory_history,
            host_root: args.host_root,
            stuck_after: (args.stuck_after > 0).then(|| Duration::from_secs(args.stuck_after)),
        },
        container_events: args.container_events,
        store: StoreOptions {
            path: (args.store.as_os_str() != "none").then_some(args.store),
            backfill: args.backfill == Backfill::Boot,
            retention: Retention {
                age: Duration::from_hours(24 * u64::from(args.keep_days)),
                events: args.keep_events,
                bytes: args.keep_mib << 20,
            },
        },
        sinks: args.sinks.into(),
        api: args.serve.options(api::SOCKET),
        metrics: args.metrics.into(),
        node: args.node,
        cluster: args.cluster,
        confine: confine::Options {
            without: args.without,
            oom_score_adj: args.oom_score_adj,
        },
        timing: Timing {
            window_ns,
            grace_ns: timing.grace_ns.min(window_ns),
            settle_ns: timing.settle_ns.min(window_ns),
            ..timing
        },
    };
    match daemon::run(&options) {
        Ok(summary) => {
            say_at_the_end(summary.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = match error {
                RunError::BpfRequired(_) => Some(EXIT_NO_BPF),
                RunError::NoSource { .. } => Some(EXIT_NO_SOURCE),
                RunError::Held(_) => Some(EXIT_HELD),
                _ => None,
            };
            let failed = fail(&error);
            code.map_or(failed, ExitCode::from)
        }
    }
}
