//! What the supervisor and the workers have in common.
//!
//! Configuration, the modules' tables, the wire, application groups: data, and functions on it. Files of the
//! configuration and of /proc are read at the edges; nothing here touches eBPF, and nothing here needs a privilege.
#![forbid(unsafe_code)]

pub mod apps;
pub mod btf;
pub mod canary;
pub mod config;
pub mod diagnostic;
pub mod file;
pub mod filter;
pub mod forecast;
pub mod hooks;
pub mod host;
pub mod pattern;
pub mod peer;
pub mod reference;
pub mod snapshot;
pub mod symbols;
pub mod table;
pub mod wire;
