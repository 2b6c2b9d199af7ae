//! Independent witnesses of traffic: the kernel's count of segments sent again, and `ss` about a real transfer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::agent::Agent;
use tests::network::flows;
use tests::network::kernel::counter;
use tests::network::namespace::Namespaces;
use tests::network::pair::{Pair, Place, groups, names};
use tests::plugin::{Finished, Plugin, SHOW_ALL, Setup, only_network};
use tests::system::{alone, wait_until};

fn setup(groups: &str) -> Setup {
    let conf = only_network("ebpf load mode = return", SHOW_ALL);
    Setup { ebpf_conf: Some(conf), ..Setup::new("return", groups) }
}

fn settle(mut plugin: Plugin) -> Finished {
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished
}

fn segments_sent_again(namespace: Option<&str>) -> i64 {
    counter(namespace, "Tcp", "RetransSegs").unwrap().cast_signed()
}

/// A queue that is too short for the transfer drops packets: what is sent again is what the kernel says, by system, by group and by peer.
#[test]
fn segments_sent_again_are_those_of_the_kernel() {
    let _alone = alone().unwrap();
    let namespaces = Namespaces::with_losses().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = Plugin::start_and_wait(&setup(&groups(&["nett"]))).unwrap();
    let elsewhere = segments_sent_again(None);
    let words = "stream=4:3000000:4 stream=2:2000000:6 sendfile=1:3000000:4";
    let both = Pair::run(directory.path(), "nett", &namespaces.place(23000), words).unwrap();
    // The kernel goes on sending what a socket left behind when it was closed.
    let count = || [0, 1].map(|which| segments_sent_again(Some(&namespaces.names[which])));
    let mut last = count();
    wait_until("the last segment", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_secs(4));
        let now = count();
        Ok(std::mem::replace(&mut last, now) == now)
    })
    .unwrap();
    let finished = settle(plugin);
    let [server, client] = [0, 1].map(|which| segments_sent_again(Some(&namespaces.names[which])));
    let elsewhere = segments_sent_again(None) - elsewhere;
    println!("sent again: server {server}, client {client}, outside of the test {elsewhere}");
    assert!(server > 10 && client > 10, "the queue dropped too little: {server} and {client}");

    let output = &finished.output;
    let shown = output.total("ebpf.tcp_retransmit", "tcp_retransmit_skb");
    let missed = output.total("ebpf.network_viewer_missed", "recursion");
    let sent_again = server + client;
    println!("shown: {shown}, skipped: {missed}");
    assert!((sent_again..=sent_again + elsewhere).contains(&shown), "{shown} shown, {missed} skipped");
    // What a server sends again before its first call has returned is nobody's.
    let [by_server, by_client] =
        names("nett").map(|group| output.total("apps.bandwidth_tcp_retransmit", &group));
    let by_nobody = output.total("apps.bandwidth_tcp_retransmit", "other");
    assert_eq!(by_server + by_client + by_nobody, shown);
    assert_eq!(by_client, client);
    assert!(by_server <= server, "server: {by_server} of {server}");
    let of_peers: i64 = both
        .client
        .flows
        .keys()
        .map(|key| output.total(flows::RETRANSMITS, &key.label(&key.port.to_string())))
        .sum();
    // The server's are inbound and have no chart by peer.
    assert_eq!(of_peers, client);
    let faults = flows::differences(output, &both.sum(), flows::Booked::All, |port| port.to_string());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// SYN of a server that has no room for them: sent again by connections that are not established.
#[test]
fn connections_that_are_begun_again_are_those_of_the_kernel() {
    let _alone = alone().unwrap();
    let namespaces = Namespaces::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = Plugin::start_and_wait(&setup(&groups(&["nett"]))).unwrap();
    // Within one namespace a packet has come before the call that sent it returns; so the first client is the one that is let in.
    let name = namespaces.names[0].clone();
    let place = Place { namespaces: Some((name.clone(), name.clone())), ..Place::loopback(23000) };
    let both = Pair::run(directory.path(), "nett", &place, "dropped_syn=1:11:4").unwrap();
    let output = settle(plugin).output;
    let client = segments_sent_again(Some(&name));
    assert!(client >= 1, "only {client} segments were sent again");
    let label = both.client.flows.keys().next().unwrap().label("23000");
    assert_eq!(output.total(flows::RETRANSMITS, &label), client);
}

/// curl, from the web server of a real agent, by a connection that it keeps: as `ss` says, byte by byte.
#[test]
fn a_real_transfer_is_what_ss_says() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(false, "", "").unwrap();
    let port = agent.address().rsplit(':').next().unwrap().to_owned();
    let curl = directory.path().join("nett_curl");
    symlink("/usr/bin/curl", &curl).unwrap();
    let plugin = Plugin::start_and_wait(&setup("curl: nett_curl\n")).unwrap();
    // Between the first transfer and the second there is time for a look: six a minute.
    let url = format!("{}/api/v1/charts", agent.address());
    let mut running = Running(
        Command::new(&curl)
            .args(["-sS", "--noproxy", "*", "-H", "Connection: keep-alive", "--rate", "6/m", &url, &url])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut said = BTreeMap::new();
    wait_until("the first transfer", Duration::from_secs(8), || {
        let now = ss(&port);
        // It is over when nothing more comes.
        let is_over = now.get("bytes_received").is_some_and(|&bytes| bytes > 500) && now == said;
        said = now;
        std::thread::sleep(Duration::from_millis(300));
        Ok(is_over)
    })
    .unwrap();
    let finished = settle(plugin);
    assert!(
        running.0.try_wait().unwrap().is_none(),
        "curl has ended: its connection was not compared while open"
    );
    let output = &finished.output;
    let shown = ["apps.bandwidth_sent", "apps.bandwidth_recv"].map(|chart| output.total(chart, "curl").abs());
    // Of the bytes that were acknowledged the SYN is one.
    assert_eq!(said["bytes_acked"] - 1, said["bytes_sent"]);
    assert_eq!(shown, [said["bytes_sent"], said["bytes_received"]], "{said:?}\n{}", finished.stderr);
    let label = format!("{port}:TCP:127.0.0.1");
    assert_eq!(flows::shown(output, false, &label)[..2], shown);
    let [sent, received, ..] = flows::shown(output, true, &format!("{port}:TCP"));
    assert_eq!([received, sent], shown, "the server has it the other way round");
    agent.stop().unwrap();
}

/// Ends with the test: our own child.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Not reaped yet, so the id is still its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `name:number` words of the established connection to `port`.
fn ss(port: &str) -> BTreeMap<String, i64> {
    let filter = format!("dport = :{port}");
    let output = Command::new("ss").args(["-tinH", "state", "established", &filter]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.split_whitespace().filter_map(|word| word.split_once(':'));
    let bytes = pairs.filter(|(name, _)| name.starts_with("bytes_"));
    bytes.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))).collect()
}
