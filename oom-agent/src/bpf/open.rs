//! The way to a ring: a predecessor's programs as they are, or new ones in its place.
//!
//! Reads the pins; emits [`Loaded`]. There is never a moment at which nothing records: new programs are
//! attached and pinned before the old ones are detached, and what the old ring holds comes first. A kill that
//! both record has the same id twice. Every step may be the last: what is half made has no name, and what
//! is detached keeps its records until they are let go of.

use std::path::{Path, PathBuf};

use aya::{Ebpf, programs::links::FdLink};
use thiserror::Error;

use super::{
    cgroups::CgroupPrograms,
    ends::EndPrograms,
    generation::{self, Generation, GenerationError},
    link::Hold,
    load::{self, LoadError, Options, Programs, Tier},
    pin_name::{self, PinName},
    pinned::{MAPS, SetAsideError, UnusableError},
    pins::{Pins, PinsError},
};
use crate::error::chain;

/// Programs that record, and all that is left to read.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Loaded {
    /// Programs, maps and links that are not pinned; dropping it detaches them.
    pub ebpf: Option<Ebpf>,
    /// Links that are not pinned.
    pub(crate) links: Vec<FdLink>,
    /// What records now.
    pub(crate) own: Generation,
    /// What has recorded before, and is to be read first, the oldest first.
    pub(crate) retired: Vec<Retired>,
    /// Records that were in rings of a wire version that this agent cannot read.
    pub(crate) unreadable: u64,
    /// What was reached.
    pub tier: Tier,
    /// Why not more, one line each.
    pub notes: Vec<String>,
    /// What it takes to watch cgroups in the kernel, where it allows that.
    pub cgroups: Option<CgroupPrograms>,
    /// What it takes to see victims end in the kernel, where it allows that.
    pub ends: Option<EndPrograms>,
    /// Identity of what is pinned, and so outlives this process.
    pub generation: Option<String>,
    /// Whether a predecessor's programs go on.
    pub taken_over: bool,
    /// Whether two generations of programs may have recorded the same.
    pub overlap: bool,
    /// The directory of the pins, with its lock.
    pub(crate) pins: Option<Pins>,
}

/// Programs that are detached, and whose records are still there.
pub(crate) struct Retired {
    pub(crate) generation: Generation,
    /// To be removed once nothing in it is needed.
    pub(crate) dir: PathBuf,
}

/// Opens the pins and takes their lock. If another agent has it, it is an error, or with `take_over` its end:
/// our own programs are attached before that, if they are other ones.
pub fn claim(dir: &Path, options: &Options, take_over: bool) -> Result<Pins, PinsError> {
    let mut pins = Pins::look(dir)?;
    if pins.try_lock()? {
        return Ok(pins);
    }
    if !take_over {
        return Err(pins.held(None).into());
    }
    let name = generation::name(options);
    let is_there = pins
        .links(&name)
        .is_ok_and(|links| pin_name::tier(&links).is_some());
    if !is_there {
        let made = load::load(options).map(|programs| pinned(programs, &pins, &name));
        let made = made.map_err(|error| chain(&error));
        if let Err(why) = made.and_then(|made| made.map_err(|(_, error)| chain(&error))) {
            return Err(pins.held(Some(&why)).into());
        }
    }
    if let Err(error) = pins.take_over() {
        // Never two generations.
        if !is_there && let Err(error) = pins.remove(&name) {
            tracing::warn!("{}", chain(&error));
        }
        return Err(error.into());
    }
    Ok(pins)
}

/// Goes on with what a predecessor has left in `pins`, else loads the best that the kernel allows, and pins it.
pub fn open(options: &Options, pins: Option<Pins>) -> Result<Loaded, LoadError> {
    let Some(pins) = pins else {
        return unpinned(load::load(options)?);
    };
    let name = generation::name(options);
    let mut loaded = match taken_over(&pins, &name, options) {
        Ok(loaded) => loaded,
        Err(error) => {
            // What has this name is not whole, and makes room for its namesake.
            if pins.names().is_ok_and(|names| names.contains(&name)) {
                tracing::warn!("cannot go on with {name}: {}", chain(&error));
                if let Err(error) = set_aside(&pins, &name) {
                    tracing::warn!("{}", chain(&error));
                }
            }
            match pinned(load::load(options)?, &pins, &name) {
                Ok(loaded) => loaded?,
                Err((programs, error)) => {
                    // A link that could not be pinned is gone, and its program detached.
                    let mut programs = match programs {
                        Some(programs) => *programs,
                        None => load::load(options)?,
                    };
                    let note =
                        format!("nothing is recorded while no agent runs: {}", chain(&error));
                    programs.notes.push(note);
                    unpinned(programs)?
                }
            }
        }
    };
    retire(&pins, &name, options, &mut loaded);
    loaded.pins = Some(pins);
    Ok(loaded)
}

/// Why a predecessor's programs cannot be read.
#[derive(Debug, Error)]
enum TakeOverError {
    #[error(transparent)]
    Unusable(#[from] UnusableError),
    #[error(transparent)]
    Maps(#[from] GenerationError),
}

fn read(pins: &Pins, name: &str, options: &Options) -> Result<(Generation, String), TakeOverError> {
    let maps = pins.maps(name)?;
    let identity = generation::identity(name, maps.first())?;
    let resume = options.resume.as_ref();
    let durable = resume.filter(|resume| resume.generation == identity);
    let durable = durable.map(|resume| resume.seq);
    let version = generation::wire_version(name).unwrap_or(options.wire_version);
    let generation = Generation::taken_over(maps, version, durable)?;
    Ok((generation, identity))
}

fn taken_over(pins: &Pins, name: &str, options: &Options) -> Result<Loaded, TakeOverError> {
    let tier = pin_name::tier(&pins.links(name)?).ok_or(UnusableError::NoMark)?;
    let (own, identity) = read(pins, name, options)?;
    Ok(Loaded {
        ebpf: None,
        links: Vec::new(),
        own,
        retired: Vec::new(),
        unreadable: 0,
        tier,
        notes: Vec::new(),
        cgroups: (tier != Tier::Format).then(CgroupPrograms::later),
        ends: (tier != Tier::Format).then(EndPrograms::later),
        generation: Some(identity),
        taken_over: true,
        overlap: false,
        pins: None,
    })
}

/// What could not be pinned, unless that has taken it away, and why.
type NotPinned = (Option<Box<Programs>>, PinsError);

/// Pins what was loaded: nothing but the pins holds it then.
fn pinned(
    mut programs: Programs,
    pins: &Pins,
    name: &str,
) -> Result<Result<Loaded, LoadError>, NotPinned> {
    let by_object = |(_, hold): &&(PinName, Hold)| matches!(hold, Hold::Object);
    if let Some(&(pin, _)) = programs.holds.iter().find(by_object) {
        return Err((Some(Box::new(programs)), PinsError::NoLink(pin)));
    }
    let links = programs
        .holds
        .drain(..)
        .filter_map(|(pin, hold)| match hold {
            Hold::Link(link) => Some((pin, link)),
            Hold::Object => None,
        });
    let links = links.collect();
    let maps = MAPS.map(|(pin, what)| (pin, what, programs.ebpf.map(what)));
    pins.pin(name, maps, links).map_err(|error| (None, error))?;
    let identity = generation::identity(name, programs.ebpf.map("RING"));
    Ok(unpinned(programs).and_then(|loaded| {
        Ok(Loaded {
            ebpf: None,
            generation: Some(identity?),
            ..loaded
        })
    }))
}

fn unpinned(programs: Programs) -> Result<Loaded, LoadError> {
    let Programs {
        mut ebpf,
        holds,
        ring,
        last_seq,
        tier,
        notes,
        cgroups,
        ends,
        wire_version,
    } = programs;
    let links = holds.into_iter().filter_map(|(_, hold)| match hold {
        Hold::Link(link) => Some(link),
        Hold::Object => None,
    });
    let mut map = |name| ebpf.take_map(name).ok_or(GenerationError::Map(name, None));
    let own = Generation::new(ring, map("STATS")?, map("SEQ")?, wire_version, last_seq)?;
    Ok(Loaded {
        ebpf: Some(ebpf),
        links: links.collect(),
        own,
        retired: Vec::new(),
        unreadable: 0,
        tier,
        notes,
        cgroups,
        ends,
        generation: None,
        taken_over: false,
        overlap: false,
        pins: None,
    })
}

/// Detaches every other generation. What is in their rings is read first, or counted where it cannot be.
fn retire(pins: &Pins, own: &str, options: &Options, loaded: &mut Loaded) {
    let retired = pins.sweep().and_then(|()| pins.generations());
    let names = retired.unwrap_or_else(|error| {
        loaded.notes.push(chain(&error));
        Vec::new()
    });
    for name in names.iter().filter(|name| *name != own) {
        if let Err(error) = retire_one(pins, name, options, loaded) {
            loaded
                .notes
                .push(format!("old pins {name}: {}", chain(&error)));
        }
    }
}

fn retire_one(
    pins: &Pins,
    name: &str,
    options: &Options,
    loaded: &mut Loaded,
) -> Result<(), PinsError> {
    // Also one that is detached already: whoever began to read it was cut off, so what it holds may be journaled,
    // and what it held may be in our ring, too. Its places are nowhere durable.
    loaded.overlap = true;
    let Some(name) = &set_aside(pins, name)? else {
        return Ok(());
    };
    let mut generation = match read(pins, name, options) {
        Ok((generation, _)) => generation,
        Err(error) => {
            tracing::error!("records of {name} cannot be read: {}", chain(&error));
            return pins.remove(name);
        }
    };
    if ![oom_common::WIRE_VERSION, options.wire_version].contains(&generation.wire_version()) {
        let records = generation.count();
        tracing::error!("{records} records of {name} are lost: this agent cannot read them");
        loaded.unreadable += records;
        return pins.remove(name);
    }
    if generation.is_empty() {
        return pins.remove(name);
    }
    tracing::info!("what {name} has recorded is read first");
    loaded.retired.push(Retired {
        generation,
        dir: pins.dir().join(name),
    });
    Ok(())
}

/// Detaches a generation, and gives its new name; `None` where its records cannot be had, and all is removed.
fn set_aside(pins: &Pins, name: &str) -> Result<Option<String>, PinsError> {
    match pins.set_aside(name) {
        Ok(name) => Ok(Some(name)),
        Err(SetAsideError::Pins(error)) => Err(error),
        Err(error) => {
            tracing::error!("records of {name} cannot be read: {}", chain(&error));
            pins.remove(name)?;
            Ok(None)
        }
    }
}
