//! Gives up what a worker does not need once it counts: reading its maps takes descriptors, not capabilities.
//!
//! Measured on 5.10 to 7.2 and 6.18. Some kernels before 5.19 refuse every bpf(2) call without CAP_BPF when `unprivileged_bpf_disabled` is
//! set; so it is tried before it is made final.

use std::io;

use anyhow::{Context, Result};
use caps::CapSet;
use nix::sys::prctl;

/// Names of the capabilities in effect.
pub fn held() -> Result<Vec<String>, caps::errors::CapsError> {
    let mut names: Vec<String> =
        caps::read(None, CapSet::Effective)?.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

/// Gives up every capability for good, if `works` still succeeds without them; else returns what it said, and nothing has changed.
///
/// Fails when the capability sets cannot be changed at all.
pub fn drop_all(works: impl Fn() -> io::Result<()>) -> Result<Option<io::Error>> {
    let effective = caps::read(None, CapSet::Effective).context("cannot read the capabilities")?;
    caps::clear(None, CapSet::Effective).context("cannot give up the capabilities in effect")?;
    if let Err(refusal) = works() {
        caps::set(None, CapSet::Effective, &effective).context("cannot take the capabilities back")?;
        return Ok(Some(refusal));
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set).with_context(|| format!("cannot clear the {set:?} capabilities"))?;
    }
    // No program that this process might ever execute gets any of them back.
    prctl::set_no_new_privs().context("cannot forbid new privileges")?;
    Ok(None)
}
