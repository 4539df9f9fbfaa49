//! How each kernel prints a report. Reads [`Facts`]; emits messages as `/dev/kmsg` has them. Written after
//! `mm/oom_kill.c`, `mm/memcontrol.c`, `mm/show_mem.c` and `lib/dump_stack.c` of those kernels.

use crate::facts::Facts;

/// One message: its level, whether it is a fragment, its text.
pub(crate) type Message = (u8, bool, Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stats {
    /// One line a cgroup, in kB.
    Inline,
    /// `memory.stat` of version 2 in one record.
    Block,
    /// A record a line.
    Lines,
    /// A record a line, of version 1.
    LinesV1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskIn {
    Whole,
    /// 3.15 to 3.19.
    Split,
    /// 5.0 and later have a summary instead.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// Before 4.5.
    Old,
    /// 4.5 to 5.3.
    Shmem,
    Rhel7,
    /// 5.4 and later.
    Full,
}

/// The forms of one kernel.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, whatever the others"
)]
pub(crate) struct Form {
    pub(crate) kernel: &'static str,
    /// Flags of the allocation by name (4.6+).
    pub(crate) gfp_names: bool,
    /// What stands between these and the order (4.9 to 4.20).
    pub(crate) nodemask: &'static str,
    /// Whether lines that are built with `pr_cont` come in pieces.
    pub(crate) pieces: bool,
    /// `%d` of the CPU line: before the pid, and with it the name.
    pub(crate) cpu: &'static str,
    /// Between the name and the release.
    pub(crate) taint: &'static str,
    /// Frames with addresses (before 4.10).
    pub(crate) addresses: bool,
    pub(crate) task_in: TaskIn,
    pub(crate) stats: Stats,
    /// Counters besides memory: `swap`, or `memory+swap` and `kmem`.
    pub(crate) v2: bool,
    /// Columns between `rss` and `swapents`.
    pub(crate) columns: &'static str,
    /// Zones without `Node 0`.
    pub(crate) uma: bool,
    /// `sacrifice child` before the kill, which then has no prefix.
    pub(crate) choice: bool,
    /// The kill has a prefix.
    pub(crate) prefix: bool,
    pub(crate) kill: Kill,
}

const OLD: Form = Form {
    kernel: "3.10.104",
    gfp_names: false,
    nodemask: "",
    pieces: false,
    cpu: "CPU: # PID: ",
    taint: "Not tainted",
    addresses: true,
    task_in: TaskIn::Whole,
    stats: Stats::Inline,
    v2: false,
    columns: "nr_ptes",
    uma: true,
    choice: true,
    prefix: false,
    kill: Kill::Old,
};

const NEW: Form = Form {
    kernel: "6.12.9+deb13-cloud-amd64",
    gfp_names: true,
    nodemask: "",
    pieces: false,
    cpu: "CPU: # UID: 0 PID: ",
    taint: "Tainted: G        W   E     ",
    addresses: false,
    task_in: TaskIn::None,
    stats: Stats::Lines,
    v2: true,
    columns: "rss_anon rss_file rss_shmem pgtables_bytes",
    uma: false,
    choice: false,
    prefix: true,
    kill: Kill::Full,
};

/// Every version whose lines differ from those of the one before it.
pub(crate) const FORMS: &[Form] = &[
    Form {
        cpu: "Pid: ",
        ..OLD
    },
    OLD,
    Form {
        kernel: "3.10.0-1160.el7.x86_64",
        taint: "Kdump: loaded Tainted: G        W      ------------ T",
        uma: false,
        kill: Kill::Rhel7,
        ..OLD
    },
    Form {
        kernel: "3.10.104",
        pieces: true,
        ..OLD
    },
    Form {
        kernel: "3.16.0-4-amd64",
        task_in: TaskIn::Split,
        ..OLD
    },
    Form {
        kernel: "4.4.0-210-generic",
        columns: "nr_ptes nr_pmds",
        ..OLD
    },
    Form {
        kernel: "4.8.17",
        gfp_names: true,
        kill: Kill::Shmem,
        ..OLD
    },
    Form {
        kernel: "4.9.0-19-amd64",
        gfp_names: true,
        nodemask: "nodemask=0-1,4, ",
        columns: "nr_ptes nr_pmds",
        kill: Kill::Shmem,
        ..OLD
    },
    Form {
        kernel: "4.14.336",
        gfp_names: true,
        nodemask: "nodemask=(null),  ",
        pieces: true,
        addresses: false,
        columns: "nr_ptes nr_pmds nr_puds",
        kill: Kill::Shmem,
        ..OLD
    },
    Form {
        kernel: "4.19.0-27-cloud-amd64",
        gfp_names: true,
        nodemask: "nodemask=(null), ",
        addresses: false,
        columns: "pgtables_bytes",
        kill: Kill::Shmem,
        ..OLD
    },
    Form {
        kernel: "5.0.21",
        cpu: "CPU: # PID: ",
        stats: Stats::Inline,
        v2: false,
        columns: "pgtables_bytes",
        choice: true,
        prefix: false,
        kill: Kill::Shmem,
        ..NEW
    },
    Form {
        kernel: "5.2.21",
        cpu: "CPU: # PID: ",
        stats: Stats::Inline,
        v2: false,
        columns: "pgtables_bytes",
        kill: Kill::Shmem,
        pieces: true,
        ..NEW
    },
    Form {
        kernel: "5.10.0-32-cloud-amd64",
        cpu: "CPU: # PID: ",
        stats: Stats::Block,
        columns: "pgtables_bytes",
        ..NEW
    },
    Form {
        kernel: "5.10.0-32-cloud-amd64",
        cpu: "CPU: # PID: ",
        stats: Stats::Block,
        columns: "pgtables_bytes",
        v2: false,
        ..NEW
    },
    Form {
        kernel: "6.6.80",
        cpu: "CPU: # PID: ",
        stats: Stats::LinesV1,
        columns: "pgtables_bytes",
        v2: false,
        ..NEW
    },
    NEW,
];

/// The lines of a report and its kill.
pub(crate) fn render(facts: &Facts, form: &Form) -> Vec<Message> {
    let mut out = Output {
        pieces: form.pieces,
        messages: Vec::new(),
    };
    header(&mut out, facts, form);
    stack(&mut out, facts, form);
    if facts.system {
        mem_info(&mut out, facts, form);
    } else {
        memcg(&mut out, facts, form);
    }
    table(&mut out, facts, form);
    if form.task_in == TaskIn::None {
        summary(&mut out, facts);
    }
    kill(&mut out, facts, form);
    out.messages
}

struct Output {
    pieces: bool,
    messages: Vec<Message>,
}

impl Output {
    fn say(&mut self, level: u8, text: impl Into<Vec<u8>>) {
        self.messages.push((level, false, text.into()));
    }

    /// What the kernel builds with `pr_cont`, in one record or in pieces with another line among them.
    fn build(&mut self, level: u8, parts: &[&[u8]]) {
        if !self.pieces {
            return self.say(level, parts.concat());
        }
        for (at, part) in parts.iter().enumerate() {
            self.messages.push((level, at > 0, part.to_vec()));
            if at == 0 {
                self.say(6, "usb 1-1: reset high-speed USB device");
            }
        }
    }
}

fn header(out: &mut Output, facts: &Facts, form: &Form) {
    let names = if form.gfp_names {
        "(GFP_KERNEL|__GFP_ZERO)"
    } else {
        ""
    };
    let begin = format!(
        " invoked oom-killer: gfp_mask={:#x}{names}, ",
        facts.gfp_mask
    );
    let end = format!("order={}, oom_score_adj={}", facts.order, facts.asker_adj);
    let begin = [facts.asker.as_bytes(), begin.as_bytes()].concat();
    let nodes = form.nodemask.strip_prefix("nodemask=(null)");
    match nodes.filter(|_| form.pieces) {
        Some(rest) => {
            let begin = [&begin[..], b"nodemask="].concat();
            let end = format!("{rest}{end}");
            out.build(4, &[&begin, b"(null)", end.as_bytes()]);
        }
        None => out.say(
            4,
            [&begin[..], form.nodemask.as_bytes(), end.as_bytes()].concat(),
        ),
    }
}

fn stack(out: &mut Output, facts: &Facts, form: &Form) {
    let cpu = form.cpu.replace('#', &facts.cpu.to_string());
    let comm: &[u8] = if form.cpu == "Pid: " {
        b", comm: "
    } else {
        b" Comm: "
    };
    let rest = format!(" {} {} #1 SMP", form.taint, form.kernel);
    let tid = facts.asker_tid.to_string();
    out.say(
        4,
        [
            cpu.as_bytes(),
            tid.as_bytes(),
            comm,
            facts.asker.as_bytes(),
            rest.as_bytes(),
        ]
        .concat(),
    );
    out.say(4, "Hardware name: QEMU");
    out.say(4, "Call Trace:");
    for frame in [
        "dump_header+0x1/0x2",
        "? try_charge+0x1/0x2",
        "try_charge+0x1/0x2",
        "do_anonymous_page+0x3/0x44 [mod]",
    ] {
        let address = if form.addresses {
            "[<ffffffff81123456>] "
        } else {
            ""
        };
        out.say(4, format!(" {address}{frame}"));
    }
    if !form.addresses {
        out.say(4, "RIP: 0033:0x7f1e8a0b10a6");
    }
}

fn memcg(out: &mut Output, facts: &Facts, form: &Form) {
    let (limit, task) = (facts.limit.as_bytes(), facts.victim_path());
    let killed = b" killed as a result of limit of ";
    match form.task_in {
        TaskIn::Whole => out.build(6, &[b"Task in ", task.as_bytes(), killed, limit]),
        TaskIn::Split => {
            out.say(6, [b"Task in ", task.as_bytes()].concat());
            out.say(6, [killed, limit].concat());
            out.say(6, "");
        }
        TaskIn::None => {}
    }
    let names: &[&str] = if form.v2 {
        &["memory", "swap"]
    } else {
        &["memory", "memory+swap", "kmem"]
    };
    for (name, (usage, limit, failcnt)) in names.iter().zip(facts.counters) {
        out.say(
            6,
            format!("{name}: usage {usage}kB, limit {limit}kB, failcnt {failcnt}"),
        );
    }
    let [anon, file, shmem, swap, ..] = facts.numbers;
    match form.stats {
        Stats::Inline => {
            for (path, rss) in [(&facts.limit, anon), (&task, file)] {
                let words = format!(" cache:0KB rss:{rss}KB");
                out.build(
                    6,
                    &[
                        b"Memory cgroup stats for ",
                        path.as_bytes(),
                        b":",
                        words.as_bytes(),
                        b" swap:1KB",
                    ],
                );
            }
        }
        listed => {
            out.build(6, &[b"Memory cgroup stats for ", limit, b":"]);
            let text = if listed == Stats::LinesV1 {
                format!(
                    "cache 1\nrss 2\nshmem 3\nswap 4\ntotal_cache {file}\ntotal_rss {anon}\ntotal_shmem {shmem}\ntotal_swap {swap}"
                )
            } else {
                format!(
                    "anon {anon}\nfile {file}\nkernel_misc 9\nshmem {shmem}\nworkingset_refault_anon 0"
                )
            };
            if listed == Stats::Block {
                out.say(6, text);
            } else {
                text.lines().for_each(|line| out.say(6, line));
            }
        }
    }
}

fn mem_info(out: &mut Output, facts: &Facts, form: &Form) {
    let [active, inactive, free, mapped, low, managed, ram, swap] = facts.numbers;
    let node = if form.uma { "" } else { "Node 0 " };
    out.say(4, "Mem-Info:");
    out.say(4, format!("active_anon:{active} inactive_anon:{inactive} isolated_anon:0\n active_file:0 free_cma:0\n mapped:{mapped} bounce:0\n free:{free} free_pcp:0"));
    if !form.uma {
        out.say(
            4,
            "Node 0 active_anon:1kB inactive_anon:2kB all_unreclaimable? no",
        );
    }
    out.say(4, format!("{node}Normal free:{free}kB min:1kB low:{low}kB high:3kB active_anon:9kB present:9kB managed:{managed}kB"));
    out.say(4, "lowmem_reserve[]: 0 0 0");
    out.say(4, format!("{node}Normal: 0*4kB 3*8kB (UE) 0*16kB = 24kB"));
    out.say(4, "17 total pagecache pages");
    out.say(4, format!("Free swap  = {swap}kB"));
    out.say(4, "Total swap = 4294967296kB");
    out.say(4, format!("{ram} pages RAM"));
}

fn table(out: &mut Output, facts: &Facts, form: &Form) {
    out.say(6, "Tasks state (memory values in pages):");
    let columns = form.columns;
    out.say(
        6,
        format!("[  pid  ]   uid  tgid total_vm      rss {columns} swapents oom_score_adj name"),
    );
    for (comm, tid, rss) in &facts.tasks {
        let sizes = " 4096".repeat(columns.split(' ').count());
        let row = format!(
            "[{tid:>7}]     0 {tid:>5} {:>8} {rss:>8}{sizes}        0             0 ",
            rss * 2
        );
        out.say(6, [row.as_bytes(), comm.as_bytes()].concat());
    }
}

fn summary(out: &mut Output, facts: &Facts) {
    let task = facts.victim_path();
    let constraint = if facts.system { "NONE" } else { "MEMCG" };
    let begin = format!("oom-kill:constraint=CONSTRAINT_{constraint},nodemask=(null)");
    let ids = format!(",pid={},uid={}", facts.victim_tid, facts.uid.cast_signed());
    let mut parts: Vec<&[u8]> = vec![
        begin.as_bytes(),
        b",cpuset=",
        b"set",
        b",mems_allowed=0-1,4",
    ];
    if facts.system {
        parts.push(b",global_oom");
    } else {
        parts.extend([&b",oom_memcg="[..], facts.limit.as_bytes()]);
    }
    let victim = [b",task=", facts.victim.as_bytes(), ids.as_bytes()].concat();
    parts.extend([&b",task_memcg="[..], task.as_bytes(), &victim]);
    out.build(6, &parts);
}

fn kill(out: &mut Output, facts: &Facts, form: &Form) {
    let prefix = if facts.system {
        "Out of memory: "
    } else {
        "Memory cgroup out of memory: "
    };
    let (tid, comm) = (facts.victim_tid, facts.victim.as_bytes());
    if form.choice {
        let begin = format!("{prefix}Kill process {tid} (");
        out.say(
            3,
            [begin.as_bytes(), comm, b") score 900 or sacrifice child"].concat(),
        );
    }
    let begin = format!(
        "{}Killed process {tid} (",
        if form.prefix { prefix } else { "" }
    );
    let [total, anon, file, shmem] = facts.kb;
    let sizes = format!("total-vm:{total}kB, anon-rss:{anon}kB, file-rss:{file}kB");
    let end = match form.kill {
        Kill::Old => format!(") {sizes}"),
        Kill::Shmem => format!(") {sizes}, shmem-rss:{shmem}kB"),
        Kill::Rhel7 => format!("), UID {}, {sizes}, shmem-rss:{shmem}kB", facts.uid),
        Kill::Full => format!(
            ") {sizes}, shmem-rss:{shmem}kB, UID:{} pgtables:12kB oom_score_adj:{}",
            facts.uid, facts.adj
        ),
    };
    out.say(3, [begin.as_bytes(), comm, end.as_bytes()].concat());
}
