//! Every way of counting, on every kernel, against known loads.
//!
//! - [`cell`]: the ways: strategy, kind of objects, mode, with applications or without.
//! - [`round`]: runs several ways beside the same load and judges each event.
//! - [`traffic`]: the same for the network viewer, with its own verdict.
//! - [`judge`]: what an event shows, against what it must show.
//! - [`log`]: which hooks were used, and why an event is not counted, from the supervisor's log.
//! - [`document`]: the table of `docs/kernel-matrix.md`, from the lines that all kernels printed.
//! - [`tracefs`]: makes the plugin use `kprobe_events`, and looks at what it does there.
//! - [`kills`]: starts and kills the plugin over and over and looks at what the kernel keeps.
//!
//! Input: the built programs. Output: one [`line::Line`] for each event of each cell.

pub mod cell;
pub mod document;
pub mod judge;
pub mod kills;
pub mod line;
pub mod log;
pub mod round;
pub mod tracefs;
pub mod traffic;
