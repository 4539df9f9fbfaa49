//! What must hold whatever a log says: the correlator takes the evidence, every kill line is one kill or
//! one repeat, and every event can be written in every form.

use oom_agent::{
    clock::Now,
    correlate::{Correlator, Host, Timing},
    event::Event,
    evidence::{Evidence, Feed, KmsgEvidence},
    render::text::{self, TextStyle},
};

/// Hands evidence to the correlator, the log alone being up, and checks what comes out.
pub fn check(evidence: Vec<KmsgEvidence>) {
    let mut correlator = Correlator::new(Host::new("boot", "node"), Timing::default());
    let mut now = Now {
        monotonic_ns: 1,
        wall_offset_ns: 1_795_298_463_123_456_789,
        boot_offset_ns: 0,
    };
    let lines = evidence.iter();
    let lines = lines.filter(|piece| matches!(piece, KmsgEvidence::Killed(_)));
    let lines = u64::try_from(lines.count()).unwrap();
    let mut events = Vec::new();
    let up = Evidence::SourceState {
        source: Feed::Kmsg,
        up: true,
    };
    correlator.observe(up, now, &mut events);
    for piece in evidence {
        now.monotonic_ns += 1000;
        correlator.observe(Evidence::Kmsg(piece), now, &mut events);
    }
    correlator.finish(now, &mut events);
    let counts = correlator.counts();
    assert_eq!(counts.kills + counts.repeats, lines);
    let kills = events
        .iter()
        .filter(|event| matches!(event, Event::OomKill(_)));
    assert_eq!(u64::try_from(kills.count()).unwrap(), counts.kills);
    let mut out = String::new();
    for event in &events {
        match event {
            Event::OomKill(kill) => text::kill(kill, TextStyle::default(), &mut out),
            Event::OomInstance(instance) => {
                text::instance(instance, TextStyle::default(), &mut out);
            }
            Event::VictimEnd(_)
            | Event::OomStuck(_)
            | Event::ContainerCreation(_)
            | Event::ContainerDeletion(_) => {
                panic!("a log tells neither of ends nor of containers")
            }
        }
    }
    let control = out.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{out:?}");
}
