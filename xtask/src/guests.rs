//! The scenario tests of one kill and of a group, under kernels that this machine does not run.
//!
//! Boots each kernel once and shows the result of every test; on a failure, all that the guest said.
//! Emits what was skipped: a guest that cannot be booted here is one skipped test. Refuses an agent
//! that gets to another tier than that kernel allows.

use anyhow::{Context as _, Result};

use crate::{test::Skip, vm};

/// Kernels, and a word in the tier that the agent must reach there.
const KERNELS: [(&str, &str); 2] = [
    // cgroup v2 and everything that BPF can give.
    ("6.12", "full"),
    // The oldest with BTF; `mark_victim` carries only a pid.
    ("5.10.223", "pid"),
];

const TESTS: [&str; 2] = ["single", "group"];

/// Runs them all.
pub(crate) fn run() -> Result<Vec<Skip>> {
    let mut skipped = Vec::new();
    for (kernel, tier) in KERNELS {
        match vm::lacks(kernel)? {
            Some(reason) => skipped.push(Skip {
                name: format!("guest {kernel}"),
                reason,
            }),
            None => skipped.extend(guest(kernel, tier)?),
        }
    }
    Ok(skipped)
}

fn guest(kernel: &str, tier: &str) -> Result<Vec<Skip>> {
    let env = format!("OOM_TESTS_TIER={tier} OOM_TESTS_REQUIRE_PRIVILEGED=1");
    let mut console = Vec::new();
    let outcome = vm::boot(&vm::Args::tests(kernel, &TESTS, &env), |line| {
        if line.starts_with("test ") {
            println!("{kernel}: {line}");
        }
        console.push(line.to_owned());
    });
    if outcome.is_err() {
        println!("{}", console.join("\n"));
    }
    outcome.with_context(|| format!("tests under {kernel}"))?;
    let skipped = console.iter().filter_map(|line| Skip::in_line(line));
    let named = skipped.map(|skip| Skip {
        name: format!("guest {kernel}: {}", skip.name),
        ..skip
    });
    Ok(named.collect())
}
