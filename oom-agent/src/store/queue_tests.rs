//! Order, bounds, and what each entry is worth a waking for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::store::{
    Batch, Step,
    lanes::{BATCH, EVIDENCE, NEWS},
    testing::*,
};

/// A queue, and how far the ring has been let go.
fn queue(ring_room: u64) -> (Offer, Arc<Shared>, Arc<AtomicU64>) {
    let released = Arc::<AtomicU64>::default();
    let to = released.clone();
    let release = Box::new(move |end| {
        to.fetch_max(end, Ordering::Relaxed);
    });
    let shared = Shared::new(release, ring_room);
    (Offer(shared.clone()), shared, released)
}

fn take(shared: &Shared) -> Lanes {
    let mut lanes = Lanes::default();
    shared.take(&mut lanes, Some(Instant::now()));
    lanes
}

/// The ids and numbers of a batch, in its order.
fn words(batch: &Batch) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Evidence(_, now) => now.monotonic_ns.to_string(),
        Step::Event(event) => event.id().to_string(),
        Step::Quiet(_) => "quiet".into(),
    };
    batch.steps.iter().map(word).collect()
}

#[test]
fn lanes_are_one_in_the_order_of_detection() {
    let (offer, shared, _) = queue(u64::MAX);
    for entry in [
        told(news(1)),
        seen(1),
        told(kill(1)),
        quiet(9),
        told(news(2)),
        seen(2),
        Entry::LogRead { through: 5 },
        Entry::LogRead { through: 6 },
    ] {
        offer.offer(entry);
    }
    let mut lanes = take(&shared);
    let batch = lanes.batch();
    let expected = ["gone-1", "1", "boot-1", "quiet", "gone-2", "2"];
    assert_eq!(words(&batch), expected);
    assert_eq!((batch.log_read, batch.ring.unwrap().seq), (Some(6), 2));
    assert!(lanes.is_empty());
}

#[test]
fn a_batch_is_bounded_and_positions_go_with_the_last() {
    let (offer, shared, _) = queue(u64::MAX);
    offer.offer(Entry::LogRead { through: 5 });
    for n in 0..=BATCH as u64 {
        offer.offer(seen(n));
    }
    let mut lanes = take(&shared);
    let first = lanes.batch();
    assert_eq!((first.steps.len(), first.log_read), (BATCH, None));
    assert_eq!(first.ring.unwrap().seq, BATCH as u64 - 1);
    let second = lanes.batch();
    assert_eq!((second.steps.len(), second.log_read), (1, Some(5)));
    assert!(lanes.is_empty());
}

#[test]
fn evidence_without_room_is_a_hole_until_all_is_taken() {
    let (offer, shared, _) = queue(u64::MAX);
    let most = EVIDENCE.items as u64;
    let fits = (EVIDENCE.bytes / weight(&seen(0))).min(EVIDENCE.items) as u64;
    assert!(fits < most);
    for n in 0..fits + 3 {
        offer.offer(seen(n));
    }
    offer.offer(quiet(1));
    offer.offer(told(kill(1)));
    assert_eq!(shared.lost().evidence, 3);
    let mut lanes = take(&shared);
    assert!(lanes.batch().hole);
    let mut last = Batch::default();
    while !lanes.is_empty() {
        last = lanes.batch();
    }
    assert!(last.hole && words(&last).last().unwrap() == "boot-1");
    // The ring may go on to its end: what was refused is counted.
    assert_eq!(last.ring.unwrap().seq, fits + 2);
    offer.offer(seen(7));
    let batch = take(&shared).batch();
    assert!(!batch.hole && batch.steps.len() == 1);
}

#[test]
fn a_flood_of_news_costs_no_kill() {
    let (offer, shared, _) = queue(u64::MAX);
    offer.offer(told(kill(0)));
    for n in 0..3 * NEWS.items as u64 {
        offer.offer(told(news(n)));
    }
    let lost = shared.lost();
    assert_eq!(lost.kills, 0);
    let (kills, news) = take(&shared).events();
    assert_eq!((kills, lost.news + news), (1, 3 * NEWS.items as u64));
    assert!(news <= NEWS.items as u64);
}

#[test]
fn a_ring_that_fills_up_is_let_go_before_the_disk_has_it() {
    let (offer, shared, released) = queue(450);
    for n in 1..=5 {
        offer.offer(seen(n));
    }
    assert_eq!(
        (released.load(Ordering::Relaxed), shared.lost().early),
        (0, 0)
    );
    offer.offer(seen(6));
    assert_eq!(
        (released.load(Ordering::Relaxed), shared.lost().early),
        (600, 6)
    );
    // What is durable counts from there.
    offer.offer(seen(7));
    shared.release(RingPlace { end: 700, seq: 7 });
    for n in 8..=11 {
        offer.offer(seen(n));
    }
    assert_eq!(
        (released.load(Ordering::Relaxed), shared.lost().early),
        (700, 6)
    );
}

#[test]
fn quiet_moments_in_a_row_are_one() {
    let (offer, shared, _) = queue(u64::MAX);
    for at in 0..1000 {
        offer.offer(quiet(at));
    }
    let batch = take(&shared).batch();
    let [Step::Quiet(last)] = &batch.steps[..] else {
        panic!("{:?}", words(&batch));
    };
    assert_eq!(last.monotonic_ns, 999);
}

#[test]
fn only_evidence_and_kills_are_due_at_once() {
    for (entry, at_once) in [
        (seen(1), true),
        (told(kill(1)), true),
        (told(news(1)), false),
        (quiet(1), false),
        (Entry::LogRead { through: 1 }, false),
    ] {
        let (offer, shared, _) = queue(u64::MAX);
        offer.offer(entry);
        assert_eq!(shared.is_due(), at_once);
    }
}

#[test]
fn a_sleeper_is_woken_for_what_is_due_before_it_wakes() {
    let (offer, shared, _) = queue(u64::MAX);
    let sleeper = std::thread::spawn(move || {
        let mut lanes = Lanes::default();
        let mut seen = Vec::new();
        while !shared.take(&mut lanes, None) {
            seen.extend(words(&lanes.batch()));
        }
        seen.extend(words(&lanes.batch()));
        seen
    });
    for n in 0..100 {
        offer.offer(Entry::LogRead { through: n });
        offer.offer(told(kill(n)));
        offer.wake();
    }
    drop(offer);
    let seen = sleeper.join().unwrap();
    assert_eq!(seen.len(), 100);
}

/// A place in the second of two rings: `source/bpf/ring.rs` counts 1 << 48 bytes for each that is done.
#[test]
fn the_next_ring_is_no_reason_to_let_go_of_the_last_one() {
    let (offer, shared, released) = queue(1 << 20);
    let at = |n: u64, end: u64| match seen(n) {
        Entry::Evidence { evidence, now, .. } => Entry::Evidence {
            evidence,
            now,
            ring: Some(RingPlace { end, seq: n }),
        },
        other => other,
    };
    offer.offer(at(1, 1000));
    offer.offer(at(2, 2000));
    offer.offer(at(3, (1 << 48) + 1000));
    assert_eq!(
        released.load(Ordering::Relaxed),
        0,
        "nothing is durable yet"
    );
    assert_eq!(shared.lost().early, 0);
}
