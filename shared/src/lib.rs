//! What the supervisor and the workers have in common.
//!
//! Pure data and pure functions: configuration, the modules' tables, the wire, application groups. Nothing here
//! touches a kernel, and nothing here needs a privilege.
#![forbid(unsafe_code)]

pub mod apps;
pub mod config;
pub mod diagnostic;
pub mod host;
pub mod pattern;
pub mod reference;
pub mod snapshot;
pub mod table;
pub mod wire;
