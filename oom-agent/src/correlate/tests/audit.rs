//! Kills, repeats and what the kernel counts: the audit adds up.

use super::bench::{Bench, MS, bpf, counted, group_notice, in_group, log, log_member, mark};
use crate::{
    correlate::{Correlator, Host, Timing},
    event::Role,
    evidence::{Evidence, Feed},
};

#[test]
fn repeats_are_counted_and_the_audit_adds_up() {
    let mut bench = Bench::new(true, true);
    bench.at(1, bpf(in_group(mark(1, 50), Role::Chosen)));
    bench.at(1, bpf(in_group(mark(1, 51), Role::GroupMember)));
    bench.at(2, log(1, 50)).at(2, group_notice(1));
    bench.at(2, log_member(1, 50)).at(2, log_member(1, 51));
    bench.at(3, counted(1003));
    bench.pass(3000);
    let instance = bench.instances()[0];
    assert_eq!(instance.crosscheck.repeats, 1);
    assert_eq!(instance.group_kill, Some(true));
    let roles: Vec<Role> = instance.kills.iter().map(|kill| kill.role).collect();
    assert_eq!(roles, [Role::Chosen, Role::GroupMember]);
    assert_eq!(bench.correlator.audit().unexplained(), Some(0));
}

/// A ring that nobody has read since tells of kills that the first reading of the counter has in it.
#[test]
fn kills_of_before_the_base_are_not_held_against_it() {
    let mut bench = Bench::new(true, true);
    let host = Host::new("b007-1d", "node");
    bench.correlator = Correlator::new(host, Timing::default());
    let up = |source| Evidence::SourceState { source, up: true };
    bench.at(100, up(Feed::Bpf)).at(
        100,
        Evidence::Counter {
            oom_kill: 7,
            read_ns: 90 * MS,
        },
    );
    bench.at(101, bpf(mark(50, 50))).at(102, bpf(mark(101, 60)));
    bench.at(103, counted(8));
    assert_eq!(bench.correlator.counts().kills, 2);
    assert_eq!(bench.correlator.audit().unexplained(), Some(0));
}

#[test]
fn without_the_log_a_group_may_hide_one_repeat() {
    let mut bench = Bench::new(true, false);
    bench.at(1, bpf(in_group(mark(1, 50), Role::Chosen)));
    bench.at(1, bpf(in_group(mark(1, 51), Role::GroupMember)));
    bench.at(3, counted(1003)).pass(3000);
    assert_eq!(bench.correlator.audit().unexplained(), Some(1));
    assert_eq!(bench.correlator.counts().possible_repeats, 1);
}
