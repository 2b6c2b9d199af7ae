//! Known traffic beside the network viewer, and what it must show.
//!
//! - [`pair`]: the two processes of `load/netload.c`, server and client.
//! - [`done`]: what they say they did: calls, errors, bytes, and traffic by flow.
//! - [`compare`]: the charts that must show it.
//! - [`flows`]: the charts with one dimension for each peer or port.
//! - [`words`]: what the pair is to do in the tests that count everything.
//! - [`namespace`]: network namespaces with a veth between them.
//! - [`kernel`]: the kernel's own counters.

pub mod compare;
pub mod done;
pub mod flows;
pub mod kernel;
pub mod namespace;
pub mod pair;
pub mod words;
