//! The load of traffic tells the truth: the kernel's own counters of a network namespace agree with its report.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests::network::kernel::counter;
use tests::network::namespace::Namespaces;
use tests::network::pair::Pair;
use tests::network::words::{EVERYTHING, SEEN_BY_FUNCTIONS, between_namespaces};

#[test]
fn connections_and_datagrams_are_those_of_the_kernel() {
    let namespaces = Namespaces::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = format!("{EVERYTHING} {SEEN_BY_FUNCTIONS}");
    let words = between_namespaces(&words);
    let mut pair = Pair::start(directory.path(), "nett", &namespaces.place(23000), &words.join(" ")).unwrap();
    pair.wait_paused().unwrap();
    pair.go().unwrap();
    let both = pair.finish().unwrap();
    let of = |which: usize, name| counter(Some(&namespaces.names[which]), "Tcp", name).unwrap();
    let connects = both.client.total("tcp_connect_v4") + both.client.total("tcp_connect_v6");
    assert_eq!(of(1, "ActiveOpens"), connects);
    assert_eq!(of(1, "AttemptFails"), both.client.total("tcp_connect_error"));
    assert_eq!(of(0, "PassiveOpens"), both.server.total("tcp_accept"));
    // Every connection that was established has ended, once on either side.
    let ended = both.client.total("tcp_close") + handed_over(&words);
    assert_eq!(ended + both.client.total("tcp_connect_error"), connects);
    assert_eq!(both.server.total("tcp_close"), both.server.total("tcp_accept") + handed_over(&words));
}

/// The server ends connections that the client has handed to it.
fn handed_over(words: &[&str]) -> u64 {
    let counts = words.iter().filter_map(|word| word.strip_prefix("handed_over="));
    counts.map(|rest| rest.split(':').next().unwrap().parse::<u64>().unwrap()).sum()
}
