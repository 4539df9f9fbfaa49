//! Lines of the kernel's forms in any order, by several callers, as fragments or not, with hostile names
//! and numbers in them.

#![no_main]

mod law;

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use oom_agent::source::kmsg::{
    messages::{Message, Messages},
    record::Caller,
    report::Meta,
};

#[derive(Arbitrary, Debug)]
struct Line<'a> {
    form: u8,
    name: &'a [u8],
    number: u64,
    caller: Option<u8>,
    fragment: bool,
    /// Messages that are missing before it.
    gap: bool,
}

/// `~` is a number, `@` a name.
const FORMS: &[&str] = &[
    "@",
    "@ invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=~",
    "@ invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=",
    "(null),  order=0, oom_score_adj=0",
    "CPU: ~ UID: 0 PID: ~ Comm: @ Not tainted 6.12.9 #1",
    "CPU: ~ PID: ~ Comm: @ Tainted: G        W  3.10.0 #1",
    "Call Trace:",
    " @+0x~/0xff",
    " do_anonymous_page+0x1/0x2",
    " </TASK>",
    "memory: usage ~kB, limit ~kB, failcnt ~",
    "memory+swap: usage ~kB, limit ~kB, failcnt ~",
    "Memory cgroup stats for @:",
    "Memory cgroup stats for /@: cache:~KB rss:~KB swap:0KB",
    "Memory cgroup stats for ",
    "anon ~",
    "cache ~\nrss ~\ntotal_rss ~",
    "Task in /@ killed as a result of limit of /@",
    "Task in /@",
    " killed as a result of limit of /@",
    "Mem-Info:",
    "active_anon:~ inactive_anon:~ isolated_anon:0\n free:~ mapped:~",
    "Node ~ DMA free:~kB min:~kB low:~kB high:~kB managed:~kB",
    "Node ~ DMA: 1*4kB (U) ~*8kB = ~kB",
    "Node 0 hugepages_total=~ hugepages_free=0 hugepages_size=~kB",
    "Free swap  = ~kB",
    "~ pages RAM",
    "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
    "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
    "[ ~]     0 ~     ~     ~      ~        0             0 @",
    "[ ~]     0 ~     ~     ~  1 1 1    ~        0             0 @",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=@,mems_allowed=0,oom_memcg=/@,task_memcg=/@,task=@,pid=~,uid=0",
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)",
    ",cpuset=@,mems_allowed=0,global_oom,task_memcg=/@,task=@,pid=~,uid=~",
    "Memory cgroup out of memory: Kill process ~ (@) score ~ or sacrifice child",
    "Killed process ~ (@) total-vm:~kB, anon-rss:~kB, file-rss:~kB",
    "Killed process ~ (@), UID ~, total-vm:~kB, anon-rss:~kB, file-rss:~kB, shmem-rss:~kB",
    "Out of memory: Killed process ~ (@) total-vm:~kB, anon-rss:~kB, file-rss:~kB, shmem-rss:~kB, UID:~ pgtables:~kB oom_score_adj:~",
    "Tasks in /@ are going to be killed due to memory.oom.group set",
    "Out of memory: OOM victim ~ (@) is already exiting. Skip killing the task",
    "oom_reaper: reaped process ~ (@), now anon-rss:~kB, file-rss:~kB, shmem-rss:~kB",
    "oom_reaper: unable to reap pid:~ (@)",
    "Out of memory and no killable processes...",
    "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
    "sysrq: OOM request ignored. No task eligible",
    "oom_kill_process: ~ callbacks suppressed",
];

fuzz_target!(|lines: Vec<Line<'_>>| {
    let mut messages = Messages::new(4096, true);
    let mut evidence = Vec::new();
    for (seq, line) in (1..).zip(&lines) {
        let mut text = Vec::new();
        for &byte in FORMS[usize::from(line.form) % FORMS.len()].as_bytes() {
            match byte {
                b'~' => text.extend_from_slice(line.number.to_string().as_bytes()),
                b'@' => text.extend_from_slice(line.name),
                other => text.push(other),
            }
        }
        if line.gap {
            messages.gap(&mut evidence);
        }
        let message = Message {
            meta: Meta {
                seq,
                monotonic_ns: seq * 1000,
                caller: line.caller.map(|caller| Caller::Thread(caller.into())),
            },
            by_kernel: true,
            level: None,
            fragment: line.fragment,
            text: &text,
        };
        messages.push(message, &mut evidence);
    }
    law::check(evidence);
});
