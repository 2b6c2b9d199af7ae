//! What the pair of loads does where everything is counted. Numbers differ, so that no two agree by luck.

/// Every operation of `netload.c` once, in the families that differ, but those that take long.
pub const EVERYTHING: &str = "early=1:0:4 pause stream=7:1009:4 stream=13:703:6 stream=7:501:m stream=1:1:4 nonblocking=5:211:4 nonblocking=2:97:6 \
    sendfile=3:100000:4 sendfile=2:70001:6 threads=23:5003:4 threads=11:907:6 short=53:19:4 short=17:23:6 many=41:103:4 many=9:71:m \
    half_closed=5:77:4 half_closed=3:59:6 reset=7:31:4 reset=3:41:6 refused=5:0:4 refused=3:0:6 unconnected=3:9:4 looks=5:101:4 looks=3:55:6 \
    unaccepted=4:13:4 handed_over=3:107:4 inherited=5:83:6 reused=3:43:4 fast_open=3:109:4 udp_connected=25:307:4 udp_connected=19:211:6 \
    udp_connected=14:13:m udp_unconnected=27:53:4 udp_unconnected=21:61:6 udp_unconnected=18:67:m udp_mixed=5:29:4 udp_mixed=3:37:6 \
    udp_answers=17:91:4 udp_answers=13:88:6 udp_answers=11:73:m udp_clients=31:5:4 udp_peers=100:3:4 udp_empty=7:0:4 udp_empty=13:0:6 udp_looks=3:102:4 udp_refused=3:39:4 udp_refused=2:33:6 \
    udp_bound_client=4:63:4 udp_handed_over=3:65:6 udp_many=3:20:4 udp_many=2:30:6 \
    udp_corked=4:33:4 udp_corked=3:35:6 udp_corked_peers=4:34:4 udp_corked_peers=3:36:m udp_segments=4:100:4 udp_segments=2:90:6 udp_empty_looks=3:0:4 \
    udp_shut=5:7:4 udp_ring=4:25:4 udp_sendfile=3:1000:4 udp_shared=5:40:4 udp_reconnected=4:21:4 udp_broadcast=3:17:4 udp_elsewhere=3:44:4 mptcp=3:700:4 mptcp=2:800:6 ring=5:301:4 \
    zerocopy=4:2000:4 urgent=3:11:4 self_connected=3:13:4 self_connected=2:15:6 mptcp_listener=6:500:4 udp_takers=4:50:4 udp_takers=3:60:m \
    noise=5:99:4 udp_lite=5:99:4";

/// What tracepoints see in part only (`docs/definitions.md`): peers of more than eight datagrams a call, and splices out of a socket.
pub const SEEN_BY_FUNCTIONS: &str = "udp_many_peers=2:20:4 spliced=3:5000:4";

/// The same in short, with few tasks in a call at once (a kretprobe follows ten), and segments that are sent again.
pub const MATRIX: &str = "early=1:0:4 pause stream=7:1009:4 stream=7:703:6 stream=7:501:m nonblocking=3:211:4 sendfile=3:100000:4 \
    sendfile=2:70001:6 threads=8:5003:4 threads=5:907:6 short=53:19:4 many=9:71:m half_closed=5:77:4 half_closed=3:59:6 reset=7:31:4 reset=3:41:6 \
    refused=5:0:4 refused=3:0:6 unconnected=3:9:4 looks=5:101:4 looks=3:55:6 unaccepted=4:13:4 handed_over=3:107:4 inherited=5:83:6 reused=3:43:4 \
    fast_open=3:109:4 udp_connected=25:307:4 udp_connected=19:211:6 udp_connected=14:13:m udp_unconnected=27:53:4 udp_unconnected=21:61:6 \
    udp_unconnected=18:67:m udp_mixed=5:29:4 udp_mixed=3:37:6 udp_answers=17:91:4 udp_answers=13:88:6 udp_answers=11:73:m \
    udp_clients=31:5:4 udp_peers=100:3:4 udp_empty=7:0:4 udp_empty=13:0:6 \
    udp_looks=3:102:4 udp_refused=3:39:4 udp_refused=2:33:6 udp_bound_client=4:63:4 udp_handed_over=3:65:6 udp_many=3:20:4 \
    udp_corked=4:33:4 udp_corked_peers=4:34:4 udp_corked_peers=3:36:m udp_segments=4:100:4 udp_empty_looks=3:0:4 udp_shut=5:7:4 udp_ring=4:25:4 \
    udp_reconnected=4:21:4 ring=5:301:4 zerocopy=4:2000:4 self_connected=3:13:4 mptcp_listener=6:500:4 udp_takers=3:50:4 \
    noise=5:99:4 stream=1:3000000:4 \
    dropped_syn=1:10:4";

/// `words` with connections that are older than their `pause`, over which nothing moves until others have come to the same port.
pub fn with_older_connections(words: &str) -> String {
    format!("older=3:0:4 {words} older_used=1:501:4")
}

/// The words that need no address of the loopback device, and no other end in their own namespace.
pub fn between_namespaces(words: &str) -> Vec<&str> {
    let only_loopback = ["udp_peers", "udp_broadcast", "self_connected"];
    words.split_whitespace().filter(|word| !only_loopback.iter().any(|name| word.starts_with(name))).collect()
}
