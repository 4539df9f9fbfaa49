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
    watch::{Item, Watchers},
};

use crate::{figures::Report, make::World, random::Random};

const EVENTS: usize = 1000;
const ROUNDS: usize = 20;
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    for subscribers in [0, 1000] {
        let mut random = Random::new(4);
        let (mut offers, mut all) = (Vec::new(), Vec::new());
        let mut missed = 0;
        for _ in 0..ROUNDS {
            let events: Vec<Arc<Event>> = (0..EVENTS)
                .map(|n| Arc::new(world.event(n, EVENTS, &mut random)))
                .collect();
            let (watchers, mut intake, thread) = Watchers::start()?;
            let subscriptions: Vec<_> = (0..subscribers)
                .map(|_| watchers.subscribe(Filter::default()))
                .collect();
            let begin = Instant::now();
            for event in &events {
                let begin = Instant::now();
                intake.offer(event);
                offers.push(begin.elapsed());
            }
            let deadline = begin + PATIENCE;
            for subscription in &subscriptions {
                let mut got = 0;
                while got < EVENTS as u64 {
                    match subscription.next(Some(deadline)) {
                        Some(Item::Event(_)) => got += 1,
                        Some(Item::Missed(of)) => got += of.events,
                        None => break,
                    }
                }
                ensure!(got == EVENTS as u64, "a subscriber got {got}");
                missed += subscription.missed();
            }
            all.push(begin.elapsed());
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
