//! What the whole-program tests share.
//!
//! - [`load`]: a program whose every counted operation is known, and the numbers it must show.
//! - [`network`]: the same for traffic: a pair of programs, and what it must show.
//! - [`compare`], [`difference`]: what must be shown against what is.
//! - [`protocol`]: a strict parser of the plugin's output.
//! - [`plugin`]: starts and ends the real supervisor, with private configuration.
//! - [`check`]: what `--check` says against what the plugin does.
//! - [`matrix`]: every way of counting on every kernel, and the document about it.
//! - [`chaos`]: ends workers at random under a known load.
//! - [`steps`]: changes the machine under a running plugin.
//! - [`cgroups`]: makes workers pass the limits of their cgroups.
//! - [`agent`]: a private real Netdata agent on loopback.
//! - [`oracle`]: `perf stat` beside the plugin.
//! - [`residue`]: what the plugin left in the kernel and among the processes.
//!
//! Input: the built programs in `EBPF_BIN_DIR` (default `target/release`). Nothing here knows how they work.

pub mod agent;
pub mod cgroups;
pub mod chaos;
pub mod check;
pub mod compare;
pub mod difference;
pub mod effects;
pub mod fields;
pub mod http;
pub mod inject;
pub mod load;
pub mod matrix;
pub mod model;
pub mod network;
pub mod oracle;
pub mod plugin;
pub mod protocol;
#[cfg(test)]
mod protocol_tests;
pub mod residue;
pub mod steps;
pub mod system;
pub mod words;
