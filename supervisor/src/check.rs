//! `--check`: what works on this host, why not, and how to fix it.
//!
//! Facts and rules first, then a proof: each worker that the configuration asks for is started, attaches, and counts a canary. Changes nothing
//! on the host.

pub mod report;
mod text;
mod trial;

use std::path::Path;

pub use report::{Program, Report};
pub use text::Style;
pub use trial::try_module;

use anyhow::{Context, Result};
use shared::host::{FACTS_VERSION, HostFacts};

/// Longest file of facts.
const LONGEST: u64 = 16 << 20;

/// Facts that were saved on some host.
pub fn read_facts(file: &Path) -> Result<HostFacts> {
    use std::io::Read;
    let mut text = String::new();
    let open = std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    open.take(LONGEST)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let facts: HostFacts =
        serde_json::from_str(&text).with_context(|| format!("{} holds no facts", file.display()))?;
    anyhow::ensure!(
        facts.version == FACTS_VERSION,
        "{} has version {}, this program knows {FACTS_VERSION}",
        file.display(),
        facts.version
    );
    Ok(facts)
}

/// Writes facts to a file, for another host to judge.
pub fn save_facts(file: &Path, facts: &HostFacts) -> Result<()> {
    let text = serde_json::to_string_pretty(facts)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
