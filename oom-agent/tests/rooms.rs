//! What is known flows one way: the rooms of the agent use each other without a cycle, and a source uses only what
//! stands left of it, so no other source.
//!
//! Reads who uses whom; emits what is wrong with it, with its places. A room is a module of the crate, or one of
//! `source`.

#[path = "rooms/uses.rs"]
mod uses;

use std::path::Path;

use anyhow::Result;

use uses::{Files, Uses, read, uses};

/// What sources may use: all that is not here stands right of them. The last four are what they have in common.
const LEFT: &str = "allocation bpf call_trace cgroup_path clock error event evidence hierarchy realtime text trend \
                    source::bell source::memcg source::scan source::worker";

#[test]
fn the_agent_flows_one_way() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Files::new();
    read(&root, &root, &mut files)?;
    let uses = uses(&files)?;
    assert!(uses.len() > 100, "most of it was not read: {uses:#?}");
    let faults = faults(&uses);
    assert!(faults.is_empty(), "{faults}");
    Ok(())
}

#[test]
fn what_flows_back_is_told() -> Result<()> {
    let cases = [
        ("a.rs use crate::b;|b.rs use crate::c::C;", ""),
        (
            "a.rs use crate::{\n b::{B, D},\n c,};|c.rs fn f() { super::a::g() }",
            "a -> c (a.rs:3), c -> a (c.rs:1)\n",
        ),
        (
            "a/mod.rs mod d;|a/d.rs use super::super::b as e;|b.rs \nuse crate::a::*;",
            "a -> b (a/d.rs:1), b -> a (b.rs:2)\n",
        ),
        (
            "source.rs mod x; mod y;|source/x.rs use super::y::Y;|source/y.rs use crate::{a, event};",
            "source::x uses source::y (source/x.rs:1)\nsource::y uses a (source/y.rs:1)\n",
        ),
        // What only tests compile, who may see it, comments and strings.
        (
            "a.rs use crate::{b, c};|b/t.rs use crate::a::A;|\
             b.rs #[cfg(test)]\nmod t;\n#[cfg(test)] use crate::{a, c};\npub(in crate::a) fn f() {}|\
             c.rs // crate::a\nfn f<'a>() { g(r#\"\"crate::a\"#, \"\\\" crate::a\", '\"') }",
            "",
        ),
    ];
    for (files, expected) in cases {
        let lib = "lib.rs mod a; pub mod b; mod c; pub(crate) mod source;";
        let files = files
            .split('|')
            .chain([lib, "a.rs ", "b.rs ", "c.rs ", "source.rs "]);
        let mut tree = Files::new();
        for (path, text) in files.filter_map(|file| file.split_once(' ')) {
            tree.entry(path.to_owned())
                .or_insert_with(|| text.to_owned());
        }
        assert_eq!(faults(&uses(&tree)?), expected, "{tree:#?}");
    }
    Ok(())
}

/// A line for each; of cycles one.
fn faults(uses: &Uses) -> String {
    let said = |arrow: &str, of: &str, to: &str| {
        let places = uses[&(of.to_owned(), to.to_owned())].join(" ");
        format!("{of} {arrow} {to} ({places})")
    };
    let mut faults = String::new();
    for (of, to) in uses.keys() {
        if of.starts_with("source::") && !LEFT.split(' ').any(|left| left == to) {
            faults += &(said("uses", of, to) + "\n");
        }
    }
    // Who uses nobody, or only such, is in no cycle; all others lead into one.
    let mut left: Vec<_> = uses.keys().collect();
    loop {
        let leads_on = |to| left.iter().any(|(of, _)| of == to);
        let fewer: Vec<_> = left
            .iter()
            .copied()
            .filter(|(_, to)| leads_on(to))
            .collect();
        if fewer.len() == left.len() {
            break;
        }
        left = fewer;
    }
    let (mut steps, mut next) = (Vec::new(), left.first().copied());
    while let Some(step) = next
        && !steps.contains(&step)
    {
        steps.push(step);
        next = left.iter().copied().find(|(of, _)| *of == step.1);
    }
    let cycle = steps.iter().skip_while(|step| Some(**step) != next);
    let cycle: Vec<_> = cycle.map(|(of, to)| said("->", of, to)).collect();
    faults + &cycle.join(", ") + if cycle.is_empty() { "" } else { "\n" }
}
