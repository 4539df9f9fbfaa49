//! The watch of cgroups, on the real hierarchy of the memory controller: by BPF and by inotify.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use oom_agent::{
    bpf::{
        cgroups::{CgroupPrograms, RING_BYTES},
        decision::WantedHook,
        load,
    },
    evidence::{CgroupEvidence, Evidence, Found, Lookup, Names},
    hierarchy::{CgroupVersion, Hierarchy},
    source::cgroup::{Asks, CgroupThread, Ended, Lookups, Options},
    trigger::scratch::{PREFIX, ScratchCgroup, Settings},
};
use oom_tests::machine::{self, Machine};

const DEADLINE: Duration = Duration::from_secs(20);

/// What runtimes have left on disk, by path.
type Disk = Arc<Mutex<HashMap<String, Lookup>>>;

struct Fake(Disk);

impl Lookups for Fake {
    fn lookup(&mut self, path: &str) -> Lookup {
        let disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disk.get(path).cloned().unwrap_or(Lookup::NotNeeded)
    }

    fn ended(&mut self, _: &str, names: Option<&Names>) -> Ended {
        names.map_or(Ended::Untold, |_| Ended::With(137))
    }
}

/// Takes down what the watch says.
#[derive(Default)]
struct Heard {
    said: Mutex<Vec<CgroupEvidence>>,
    more: Condvar,
}

impl Heard {
    fn take(&self, batch: Vec<Evidence>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for evidence in batch {
            if let Evidence::Cgroup(evidence) = evidence {
                said.push(*evidence);
            }
        }
        self.more.notify_all();
    }

    /// Waits until what was said is enough.
    fn until<T>(&self, what: &str, enough: impl Fn(&[CgroupEvidence]) -> Option<T>) -> Result<T> {
        let end = Instant::now() + DEADLINE;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = enough(&said) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what} was not said, but {said:#?}");
            }
            let waited = self.more.wait_timeout(said, left);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn scans(&self) -> usize {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        scans(&said)
    }
}

fn scans(said: &[CgroupEvidence]) -> usize {
    let scanned = |evidence: &&_| matches!(evidence, CgroupEvidence::Scanned { .. });
    said.iter().filter(scanned).count()
}

/// The cgroups that a reader of the evidence believes to be there, below one.
fn believed(said: &[CgroupEvidence], top: &str) -> BTreeMap<String, u64> {
    let mut there: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for evidence in said {
        match evidence {
            CgroupEvidence::Known(known) => {
                if let Some(id) = known.id {
                    there.insert(known.path.to_string(), (id, known.monotonic_ns));
                }
            }
            CgroupEvidence::Removed { path, id, .. } => {
                if there.get(&**path).map(|(known, _)| *known) == *id {
                    there.remove(&**path);
                }
            }
            CgroupEvidence::Renamed {
                from,
                path,
                monotonic_ns,
                ..
            } => {
                let below = |known: &str| Some(format!("{path}{}", known.strip_prefix(&**from)?));
                there = std::mem::take(&mut there)
                    .into_iter()
                    .map(|(known, (id, at))| match below(&known) {
                        Some(moved) => (moved, (id, *monotonic_ns)),
                        None => (known, (id, at)),
                    })
                    .collect();
            }
            CgroupEvidence::Scanned { began_ns } => there.retain(|_, (_, at)| *at >= *began_ns),
            CgroupEvidence::Lost { .. } => {}
        }
    }
    let below = format!("{top}/");
    there
        .into_iter()
        .filter(|(path, _)| path.starts_with(&below))
        .map(|(path, (id, _))| (path, id))
        .collect()
}

/// A running watch and a cgroup to play in.
struct Scene {
    heard: Arc<Heard>,
    disk: Disk,
    asks: Asks,
    thread: Option<CgroupThread>,
    top: ScratchCgroup,
    path: String,
    version: CgroupVersion,
    // The last to go.
    _machine: Machine,
}

impl Scene {
    /// Starts the watch and waits for its first scan.
    fn start(name: &str, by_bpf: bool, ring_bytes: u32) -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        let hierarchy = machine.hierarchy.clone();
        let programs = if by_bpf {
            let Some(programs) = programs() else {
                machine::say_skipped("needs BTF tracepoints of cgroups and probe reads");
                return Ok(None);
            };
            Some(programs)
        } else {
            None
        };
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let top = ScratchCgroup::create(&hierarchy, &name, Settings::default())?;
        let path = top.kernel_path().context("in a cgroup namespace")?;
        let heard = Arc::new(Heard::default());
        let disk = Disk::default();
        let to = heard.clone();
        let (thread, asks) = CgroupThread::start(
            Options {
                hierarchy: Hierarchy::clone(&hierarchy),
                lookups: Box::new(Fake(disk.clone())),
                ring_bytes,
            },
            programs,
            || {},
            move |batch| to.take(batch),
        )?;
        heard.until("the first scan", |said| (scans(said) > 0).then_some(()))?;
        Ok(Some(Self {
            heard,
            disk,
            asks,
            thread: Some(thread),
            top,
            path,
            version: hierarchy.version,
            _machine: machine,
        }))
    }

    fn make(&self, below: &str) -> Result<(String, u64)> {
        let dir = self.top.dir().join(below);
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok((format!("{}/{below}", self.path), inode(&dir)?))
    }

    fn remove(&self, below: &str) -> Result<()> {
        let dir = self.top.dir().join(below);
        fs::remove_dir(&dir).with_context(|| dir.display().to_string())
    }

    fn until_believed(&self, what: &str, truth: &BTreeMap<String, u64>) -> Result<()> {
        self.heard.until(what, |said| {
            (believed(said, &self.path) == *truth).then_some(())
        })
    }
}

fn inode(dir: &Path) -> Result<u64> {
    Ok(fs::metadata(dir)
        .with_context(|| dir.display().to_string())?
        .ino())
}

fn programs() -> Option<CgroupPrograms> {
    load::load(&load::Options {
        ring_bytes: 4096,
        debug_log: false,
        by_format: false,
        hook: WantedHook::None,
        wire_version: 1,
        resume: None,
    })
    .ok()?
    .cgroups
}

fn known(said: &[CgroupEvidence], path: &str, how: Found) -> Option<(Option<u64>, Lookup)> {
    said.iter().find_map(|evidence| match evidence {
        CgroupEvidence::Known(known) if *known.path == *path && known.found == how => {
            Some((known.id, known.lookup.clone()))
        }
        _ => None,
    })
}

fn comes_and_goes(by_bpf: bool) -> Result<()> {
    let Some(scene) = Scene::start("life", by_bpf, RING_BYTES)? else {
        return Ok(());
    };
    let (heard, version) = (&scene.heard, scene.version);
    let at_start = heard.until("the cgroup that was there", |said| {
        known(said, &scene.path, Found::AtStart)
    })?;
    ensure!(at_start.0 == Some(scene.top.id()), "{at_start:?}");
    let (a, a_id) = scene.make("a")?;
    let (b, b_id) = scene.make("a/b")?;
    for (path, id) in [(&a, a_id), (&b, b_id)] {
        let created = heard.until("a new cgroup", |said| known(said, path, Found::Created))?;
        ensure!(created.0 == Some(id), "{created:?}");
    }
    let mut leaf = "a/b";
    if version == CgroupVersion::V1 {
        fs::rename(scene.top.dir().join("a"), scene.top.dir().join("c"))?;
        let to = format!("{}/c", scene.path);
        heard.until("the rename", |said| {
            said.iter().find_map(|evidence| match evidence {
                CgroupEvidence::Renamed { from, path, id, .. } => {
                    (**from == *a && **path == *to && *id == Some(a_id)).then_some(())
                }
                _ => None,
            })
        })?;
        leaf = "c/b";
    }
    let leaf_path = format!("{}/{leaf}", scene.path);
    scene.remove(leaf)?;
    scene.remove(&leaf[..1])?;
    let gone = heard.until("the end", |said| {
        said.iter().find_map(|evidence| match evidence {
            CgroupEvidence::Removed { path, id, .. } if **path == *leaf_path => Some(*id),
            _ => None,
        })
    })?;
    ensure!(gone == Some(b_id), "{gone:?}");
    scene.until_believed("nothing left", &BTreeMap::new())
}

#[test]
fn bpf_tells_of_each_cgroup_that_comes_and_goes() -> Result<()> {
    comes_and_goes(true)
}

#[test]
fn inotify_tells_of_each_cgroup_that_comes_and_goes() -> Result<()> {
    comes_and_goes(false)
}

#[test]
fn bpf_sees_a_thousand_short_lives_in_order() -> Result<()> {
    let Some(mut scene) = Scene::start("short", true, RING_BYTES)? else {
        return Ok(());
    };
    let mut truth = Vec::new();
    for round in 0..500 {
        let (outer, inner) = (format!("n{}", round % 10), format!("n{}/in", round % 10));
        let outer_is = scene.make(&outer)?;
        let inner_is = scene.make(&inner)?;
        scene.remove(&inner)?;
        scene.remove(&outer)?;
        truth.extend([
            (true, outer_is.clone()),
            (true, inner_is.clone()),
            (false, inner_is),
            (false, outer_is),
        ]);
    }
    let below = format!("{}/", scene.path);
    let told = |said: &[CgroupEvidence]| -> Vec<(bool, (String, u64))> {
        let told = said.iter().filter_map(|evidence| match evidence {
            CgroupEvidence::Known(known) if known.found == Found::Created => {
                Some((true, (known.path.to_string(), known.id?)))
            }
            CgroupEvidence::Removed { path, id, .. } => Some((false, (path.to_string(), (*id)?))),
            _ => None,
        });
        told.filter(|(_, (path, _))| path.starts_with(&below))
            .collect()
    };
    let told = scene.heard.until("a thousand ends", |said| {
        let told = told(said);
        (told.len() >= truth.len()).then_some(told)
    })?;
    ensure!(told == truth, "not what was done, or not in its order");
    let counts = scene.thread.take().context("thread")?.stop();
    ensure!(counts.lost == 0 && counts.refused == 0, "{counts:?}");
    Ok(())
}

#[test]
fn inotify_finds_a_thousand_nested_cgroups() -> Result<()> {
    let Some(scene) = Scene::start("nested", false, RING_BYTES)? else {
        return Ok(());
    };
    let mut ids = Vec::new();
    for round in 0..2 {
        let mut truth = BTreeMap::new();
        let mut order = Vec::new();
        for branch in 0..100 {
            let mut below = format!("b{branch}");
            for _ in 0..10 {
                let (path, id) = scene.make(&below)?;
                truth.insert(path, id);
                order.push(below.clone());
                below.push_str("/n");
            }
        }
        scene.until_believed("all of them", &truth)?;
        ids.extend(truth.into_values());
        for below in order.iter().rev() {
            scene.remove(below)?;
        }
        scene.until_believed("none", &BTreeMap::new())?;
        ensure!(scene.heard.scans() == 1, "lost in round {round}");
    }
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 2000, "not told apart: {}", ids.len());
    Ok(())
}

#[test]
fn what_a_full_ring_loses_a_scan_finds() -> Result<()> {
    let Some(mut scene) = Scene::start("lost", true, 4096)? else {
        return Ok(());
    };
    let mut truth = BTreeMap::new();
    for index in 0..400 {
        // Long, that they fill a page.
        let below = format!("{index:0>200}");
        let (path, id) = scene.make(&below)?;
        if index % 2 == 0 {
            truth.insert(path, id);
        } else {
            scene.remove(&below)?;
        }
    }
    let lost = |said: &[CgroupEvidence]| {
        let lost = |evidence: &&_| matches!(evidence, CgroupEvidence::Lost { events: Some(1..) });
        said.iter().find(lost).map(drop)
    };
    scene.heard.until("a loss", lost)?;
    scene
        .heard
        .until("a scan after it", |said| (scans(said) > 1).then_some(()))?;
    scene.until_believed("what there is", &truth)?;
    for index in (0..400).step_by(2) {
        scene.remove(&format!("{index:0>200}"))?;
    }
    scene.until_believed("nothing", &BTreeMap::new())?;
    let counts = scene.thread.take().context("thread")?.stop();
    ensure!(counts.lost > 0 && counts.scans > 1, "{counts:?}");
    Ok(())
}

fn names_come_late(by_bpf: bool) -> Result<()> {
    let Some(scene) = Scene::start("names", by_bpf, RING_BYTES)? else {
        return Ok(());
    };
    let names = Arc::new(Names {
        container_name: Some("web".to_owned()),
        ..Names::default()
    });
    let path: Arc<str> = format!("{}/c", scene.path).into();
    let set = |lookup: Lookup| {
        let mut disk = scene.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.insert(path.to_string(), lookup);
    };
    set(Lookup::Absent);
    let (_, id) = scene.make("c")?;
    let created = scene
        .heard
        .until("the container", |said| known(said, &path, Found::Created))?;
    ensure!(created == (Some(id), Lookup::Absent), "{created:?}");
    // A question is answered whatever is known.
    ensure!(scene.asks.ask(&path, Some(id)), "no room");
    scene.heard.until("an answer", |said| {
        known(said, &path, Found::LookedUp).filter(|(_, lookup)| *lookup == Lookup::Absent)
    })?;
    set(Lookup::Found(names.clone()));
    let found = Lookup::Found(names);
    scene.heard.until("its names", |said| {
        said.iter().find_map(|evidence| match evidence {
            CgroupEvidence::Known(known) if known.path == path && known.id == Some(id) => {
                (known.found == Found::LookedUp && known.lookup == found).then_some(())
            }
            _ => None,
        })
    })?;
    scene.remove("c")?;
    let code = scene.heard.until("its end", |said| {
        said.iter().find_map(|evidence| match evidence {
            CgroupEvidence::Removed {
                path: gone,
                exit_code,
                ..
            } if *gone == path => Some(*exit_code),
            _ => None,
        })
    })?;
    ensure!(code == Some(137), "{code:?}");
    Ok(())
}

#[test]
fn names_that_come_late_are_found_by_bpf() -> Result<()> {
    names_come_late(true)
}

#[test]
fn names_that_come_late_are_found_by_inotify() -> Result<()> {
    names_come_late(false)
}
