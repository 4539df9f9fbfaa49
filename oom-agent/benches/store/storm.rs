//! A storm of a thousand events with nobody watching and with a thousand: what detection spends on it, and
//! when all have got all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use oom_agent::{
    event::Event,
    hub::Output as _,
    store::Filter,
    watch::{Item, Subscription, Watchers},
};

use crate::{
    figures::{Report, Times},
    make::World,
    random::Random,
};

const EVENTS: usize = 1000;
const ROUNDS: usize = 20;
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    for subscribers in [0, 1000] {
        let mut random = Random::new(4);
        let (mut offers, mut all) = (Times::default(), Times::default());
        let mut missed = 0;
        for _ in 0..ROUNDS {
            let events: Vec<Arc<Event>> = (0..EVENTS)
                .map(|n| Arc::new(world.event(n, EVENTS, &mut random)))
                .collect();
            let (watchers, mut intake, thread) = Watchers::start()?;
            let subscriptions: Vec<_> = (0..subscribers)
                .map(|_| watchers.subscribe(Filter::default()))
                .collect();
            let deadline = Instant::now() + PATIENCE;
            all.of_short(|| {
                for event in &events {
                    offers.of_short(|| intake.offer(event));
                }
                subscriptions
                    .iter()
                    .try_for_each(|subscription| take_all(subscription, deadline))
            })?;
            missed += subscriptions.iter().map(Subscription::missed).sum::<u64>();
            drop(intake);
            ensure!(thread.join().is_ok(), "the thread panicked");
        }
        let watched = format!("{subscribers} subscribers");
        report.add(
            &format!("offering an event, {watched}"),
            offers,
            String::new(),
        );
        report.add(
            &format!("until all had {EVENTS}, {watched}"),
            all,
            format!("{missed} missed"),
        );
    }
    Ok(())
}

/// Waits until it has got, or missed, all of them.
fn take_all(subscription: &Subscription, deadline: Instant) -> Result<()> {
    let mut got = 0;
    while got < EVENTS as u64 {
        match subscription.next(Some(deadline)) {
            Some(Item::Event(_)) => got += 1,
            Some(Item::Missed(missed)) => got += missed.events,
            None => break,
        }
    }
    ensure!(got == EVENTS as u64, "a subscriber got {got}");
    Ok(())
}
