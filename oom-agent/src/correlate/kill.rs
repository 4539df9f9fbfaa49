//! One killed process: what BPF and the log said of it, merged into an [`OomKill`].

use std::sync::Arc;

use super::{Host, InstanceKey, Watch, ending::Ending, instance::Instance};
use crate::{
    cgroup_path::attribute,
    clock::{Now, TICK_NS},
    event::{
        Cgroup, Memory, Mismatch, OomKill, Reaper, Role, SCHEMA, Source, TimeSource, Timestamp,
        Victim,
    },
    evidence::{KmsgKill, Mark},
};

/// A kill, with the evidence for it.
#[derive(Debug)]
pub(super) struct Kill {
    /// Fixed at the first evidence, like `time`: what was alerted does not change its name.
    pub(super) id: Arc<str>,
    pub(super) time: Timestamp,
    /// Set when the alert is handed to the outputs.
    pub(super) latency_ns: Option<u64>,
    pub(super) instance: InstanceKey,
    pub(super) role: Role,
    pub(super) mark: Option<Mark>,
    pub(super) line: Option<Box<KmsgKill>>,
    /// What the `oom_reaper` has said of it.
    pub(super) reaper: Option<Reaper>,
    /// What has become of it.
    pub(super) ending: Ending,
    /// Marks with a kill's stack, and "Killed process" lines, for this one process.
    pub(super) marks: u32,
    pub(super) lines: u32,
    /// Other threads by which the kernel named it.
    pub(super) other_tids: Vec<u32>,
}

impl Kill {
    /// Identity within all boots of all nodes, from facts of the kernel only: boot, process, start.
    pub(super) fn from_mark(
        boot: &str,
        instance: InstanceKey,
        role: Role,
        mut mark: Mark,
        now: Now,
    ) -> Self {
        let pid = mark.victim.pid.unwrap_or(mark.victim.tid);
        let id = match mark.start_boottime_ns {
            Some(start) => format!("{boot}-{pid}-{start}"),
            None => format!("{boot}-{pid}-mark{}", mark.monotonic_ns),
        };
        mark.victim.start_time = mark.start_boottime_ns.map(|ns| now.wall_of_boottime(ns));
        Self {
            id: id.into(),
            time: now.wall(mark.monotonic_ns),
            latency_ns: None,
            instance,
            role,
            mark: Some(mark),
            line: None,
            reaper: None,
            ending: Ending::default(),
            marks: 1,
            lines: 0,
            other_tids: Vec::new(),
        }
    }

    /// Without BPF evidence the identity is the log record: boot and sequence number.
    pub(super) fn from_line(
        boot: &str,
        instance: InstanceKey,
        line: Box<KmsgKill>,
        now: Now,
    ) -> Self {
        Self {
            id: format!("{boot}-kmsg{}", line.seq).into(),
            time: now.wall(line.monotonic_ns),
            latency_ns: None,
            instance,
            role: line.role,
            mark: None,
            reaper: line.reaper,
            ending: Ending {
                left_bytes: line.reaper_left_bytes,
                ..Ending::default()
            },
            line: Some(line),
            marks: 0,
            lines: 1,
            other_tids: Vec::new(),
        }
    }

    /// Keeps what is needed to know it again, and lets go of the rest.
    pub(super) fn forget_evidence(&mut self) {
        if let Some(line) = &mut self.line {
            line.report = None;
        }
        if let Some(mark) = &mut self.mark {
            mark.levels = Vec::new();
        }
    }

    /// Takes the mark of a kill that the log had shown first.
    pub(super) fn adopt(&mut self, mut mark: Mark, now: Now) {
        mark.victim.start_time = mark.start_boottime_ns.map(|ns| now.wall_of_boottime(ns));
        self.mark = Some(mark);
    }

    /// Times the kernel killed it beyond the first.
    pub(super) fn repeats(&self) -> u32 {
        self.marks.max(self.lines).saturating_sub(1)
    }

    /// All ids by which the log may name it.
    pub(super) fn tids(&self) -> Vec<u32> {
        let mut tids = self.other_tids.clone();
        if let Some(mark) = &self.mark {
            tids.push(mark.victim.tid);
            tids.extend(mark.victim.pid);
        }
        tids.extend(self.line.as_ref().map(|line| line.tid));
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    /// Whether a mark tells of this very process.
    pub(super) fn is(&self, mark: &Mark) -> bool {
        match &self.mark {
            Some(own) => {
                own.victim.pid.unwrap_or(own.victim.tid)
                    == mark.victim.pid.unwrap_or(mark.victim.tid)
                    && same_start(own.start_boottime_ns, mark.start_boottime_ns)
            }
            None => self.line.as_ref().is_some_and(|line| {
                Some(line.tid) == mark.victim.pid || line.tid == mark.victim.tid
            }),
        }
    }

    pub(super) fn monotonic_ns(&self) -> u64 {
        match (&self.mark, &self.line) {
            (Some(mark), _) => mark.monotonic_ns,
            (None, Some(line)) => line.monotonic_ns,
            (None, None) => 0,
        }
    }

    /// The kill of a report: the event, with the end.
    pub(super) fn reported(&self, host: &Host, instance: &Instance) -> OomKill {
        let mut event = self.event(host, instance);
        self.ending.add_to(&mut event, self.monotonic_ns());
        event
    }

    /// Whose end is to be told.
    pub(super) fn watch(&self) -> Watch {
        let mark = self.mark.as_ref();
        let by_mark = mark.map(|mark| mark.victim.pid.unwrap_or(mark.victim.tid));
        let by_line = self.line.as_ref().map(|line| line.tid);
        Watch {
            kill: self.id.clone(),
            pid: by_mark.or(by_line).unwrap_or(0),
            start_boottime_ns: mark.and_then(|mark| mark.start_boottime_ns),
            monotonic_ns: self.monotonic_ns(),
        }
    }

    /// The alert, as the evidence stands now.
    pub(super) fn event(&self, host: &Host, instance: &Instance) -> OomKill {
        let evidence = [
            self.mark.as_ref().map(|_| Source::Bpf),
            self.line.as_ref().map(|_| Source::Kmsg),
        ];
        let cgroup = self.cgroup();
        let path = cgroup.as_ref().and_then(|cgroup| cgroup.path.as_deref());
        OomKill {
            schema: SCHEMA,
            id: self.id.clone(),
            instance_id: instance.id.clone(),
            time: Some(self.time),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(self.monotonic_ns()),
            boot_id: host.boot_id.clone(),
            node: host.node.clone(),
            cluster: host.cluster.clone(),
            victim: self.victim(),
            memory: self.memory(),
            owner: path.map(|path| attribute(path).owner),
            cgroup,
            role: self.role,
            evidence: evidence.into_iter().flatten().collect(),
            detection_latency_ns: self.latency_ns,
            backfill: false,
            reaper: self.reaper,
            end: None,
        }
    }

    fn victim(&self) -> Victim {
        let mut victim = match (&self.mark, &self.line) {
            (Some(mark), _) => mark.victim.clone(),
            (None, Some(line)) => Victim {
                tid: line.tid,
                comm: line.comm,
                ..Victim::default()
            },
            (None, None) => Victim::default(),
        };
        if let Some(line) = &self.line {
            if victim.comm.is_empty() {
                victim.comm = line.comm;
            }
            victim.uid = victim.uid.or(line.uid);
            victim.oom_score_adj = victim.oom_score_adj.or(line.oom_score_adj);
        }
        victim
    }

    fn memory(&self) -> Memory {
        let bpf = self
            .mark
            .as_ref()
            .map_or_else(Memory::default, |mark| mark.memory);
        let log = self
            .line
            .as_ref()
            .map_or_else(Memory::default, |line| line.memory);
        Memory {
            total_vm_bytes: bpf.total_vm_bytes.or(log.total_vm_bytes),
            anon_bytes: bpf.anon_bytes.or(log.anon_bytes),
            file_bytes: bpf.file_bytes.or(log.file_bytes),
            shmem_bytes: bpf.shmem_bytes.or(log.shmem_bytes),
            swap_bytes: bpf.swap_bytes.or(log.swap_bytes),
            pgtables_bytes: bpf.pgtables_bytes.or(log.pgtables_bytes),
            peak_rss_bytes: bpf.peak_rss_bytes.or(log.peak_rss_bytes),
        }
    }

    /// The victim's own cgroup: from BPF, else what the report names for this very victim.
    pub(super) fn cgroup(&self) -> Option<Cgroup> {
        if let Some(mark) = &self.mark
            && let Some(level) = mark.memcg()
        {
            return Some(Cgroup {
                path: level.path.clone().or_else(|| self.reported_cgroup()),
                id: Some(level.id),
                version: mark.cgroup_version,
            });
        }
        let path = self.reported_cgroup()?;
        Some(Cgroup {
            path: Some(path),
            id: None,
            version: None,
        })
    }

    /// `task_memcg` of the report that goes with this very kill; members of a group share the report
    /// of the chosen one. The summary names the group leader, the line a thread that still had memory.
    fn reported_cgroup(&self) -> Option<String> {
        let line = self.line.as_ref()?;
        let report = line.report.as_ref()?;
        let chosen = line.role == Role::Chosen && !line.sacrificed;
        let own = chosen || report.victim_tid == Some(line.tid);
        own.then(|| report.task_memcg.clone()).flatten()
    }

    /// Fields of which BPF and the log give different values. Sizes are not compared: they are read
    /// at two moments, and the kernel's counters are approximate.
    pub(super) fn mismatches(&self) -> Vec<Mismatch> {
        let (Some(mark), Some(line)) = (&self.mark, &self.line) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let own = mark.memcg().and_then(|level| level.path.clone());
        compare(
            &mut found,
            "victim.comm",
            known(mark.victim.comm),
            known(line.comm),
        );
        compare(&mut found, "victim.uid", mark.victim.uid, line.uid);
        compare(
            &mut found,
            "victim.oom_score_adj",
            mark.victim.oom_score_adj,
            line.oom_score_adj,
        );
        compare(&mut found, "cgroup.path", own, self.reported_cgroup());
        found
    }
}

/// One reading of the two may come from `/proc`, which counts in ticks; no pid is given to a second
/// process within one.
pub(super) fn same_start(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) < TICK_NS,
        (a, b) => a == b,
    }
}

fn known(comm: crate::text::Comm) -> Option<crate::text::Comm> {
    (!comm.is_empty()).then_some(comm)
}

/// Notes a field on which both sources spoke and differ.
pub(super) fn compare<T: PartialEq + serde::Serialize>(
    found: &mut Vec<Mismatch>,
    field: &str,
    bpf: Option<T>,
    kmsg: Option<T>,
) {
    if let (Some(bpf), Some(kmsg)) = (bpf, kmsg)
        && bpf != kmsg
    {
        found.push(Mismatch {
            field: field.to_owned(),
            bpf: serde_json::to_value(bpf).unwrap_or_default(),
            kmsg: serde_json::to_value(kmsg).unwrap_or_default(),
        });
    }
}
