//! Application groups: which group of `apps_groups.conf` a process is charged to.
//!
//! The file belongs to Netdata's apps.plugin; we read the same one, so that both speak of the same groups.
//! `groups` turns its text into patterns, `processes` decides for each process once and remembers. Neither
//! knows charts or counters: in go the identities of a snapshot, out comes one [`GroupId`] for each.

mod case;
mod facts;
mod groups;
mod matcher;
mod parser;
mod processes;
mod procfs;
mod resolve;
mod words;

pub use groups::{AppsGroups, GroupId, MAX_FILE_BYTES};
pub use processes::{MAX_PROCESSES, ProcessTable};
