//! Of the one who died: identity, memory, end, cgroup, owner.
//!
//! Reads an [`OomKill`]; emits lines. What is not known of it is left out; of its memory that is said.

use crate::{
    event::{Memory, OomKill, Reaper},
    render::{
        end,
        escape::name,
        flow::{Line, Lines, Tone},
        owner,
        text::{cgroup, process},
        units::{bytes, count, duration},
    },
};

pub(super) fn say(lines: &mut Lines, kill: &OomKill) {
    let victim = &kill.victim;
    let line = lines.label("victim");
    process(line, victim);
    if victim.pid.is_some_and(|pid| pid != victim.tid) {
        line.glue(",").say(&format!("thread {}", victim.tid));
    }
    if let Some(pid) = victim.ns_pid.filter(|&pid| Some(pid) != victim.pid) {
        line.glue(",")
            .say(&format!("pid {pid} in its own namespace"));
    }
    if let Some(threads) = victim.threads {
        line.glue(",")
            .say(&count(threads.into(), "thread", "threads"));
    }
    if let Some(uid) = victim.uid {
        line.glue(",").solid(Tone::Plain, &format!("uid {uid}"));
    }
    if let Some(adj) = victim.oom_score_adj {
        line.glue(",")
            .solid(Tone::Plain, &format!("oom_score_adj {adj}"));
    }
    if let Some(ppid) = victim.ppid {
        let parent = victim.parent_comm.map_or_else(
            || format!("pid {ppid}"),
            |comm| format!("{} (pid {ppid})", name(&comm.to_string())),
        );
        line.glue(",").say("child of").solid(Tone::Plain, &parent);
    }
    if let (Some(end), Some(start)) = (kill.time, victim.start_time) {
        let lived = end.as_unix_ns() - start.as_unix_ns();
        if let Ok(lived) = u64::try_from(lived) {
            line.glue(",")
                .say("ran for")
                .solid(Tone::Plain, &duration(lived));
        }
    }
    if let Some(exe) = &victim.exe {
        lines.label("program").name(Tone::Plain, exe);
    }
    if let Some(cmdline) = &victim.cmdline {
        lines.label("command").name(Tone::Plain, cmdline);
    }
    let line = lines.label("memory");
    memory(line, &kill.memory);
    match kill.reaper {
        Some(Reaper::Reaped) => _ = line.glue(";").say("the oom_reaper took it back"),
        Some(Reaper::Unable) => {
            line.glue(";")
                .say_in(Tone::Caution, "the oom_reaper could not take it back");
        }
        Some(Reaper::NotNeeded) | None => {}
    }
    if let Some(end) = &kill.end
        && end::is_told(end)
    {
        end::say(lines.label("ended"), end);
    }
    cgroup(lines.label("cgroup"), "", kill.cgroup.as_ref());
    if let Some(owner) = &kill.owner {
        owner::full(lines.label("owner"), owner);
    }
}

fn memory(line: &mut Line, memory: &Memory) {
    let parts = [
        (memory.rss_bytes(), "resident"),
        (memory.anon_bytes, "anonymous"),
        (memory.file_bytes, "file"),
        (memory.shmem_bytes, "shared"),
        (memory.swap_bytes, "in swap"),
        (memory.pgtables_bytes, "page tables"),
        (memory.peak_rss_bytes, "resident at most"),
        (memory.total_vm_bytes, "mapped"),
    ];
    let mut first = true;
    for (size, what) in parts {
        let Some(size) = size else { continue };
        if !first {
            line.glue(if what == "anonymous" { ":" } else { "," });
        }
        let tone = if what == "resident" {
            Tone::Strong
        } else {
            Tone::Plain
        };
        line.solid(tone, &format!("{} {what}", bytes(size)));
        first = false;
    }
    if first {
        line.say_in(Tone::Caution, "unknown");
    }
}
