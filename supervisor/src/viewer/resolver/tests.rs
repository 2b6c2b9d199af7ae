use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::Ipv4Addr;
use std::path::Path;

use hickory_resolver::proto::op::Message;

use super::dns_server::{DnsServer, Reply, labels, peer};
use super::*;

/// Asks for all of `addresses` and waits until as many answers have come.
fn resolve(server: &DnsServer, addresses: impl Iterator<Item = IpAddr>) -> HashMap<IpAddr, Found> {
    let resolver = Resolver::start(server.servers()).unwrap();
    let addresses: Vec<IpAddr> = addresses.collect();
    let mut waiting = addresses.iter().peekable();
    let mut found = HashMap::new();
    let begin = Instant::now();
    while found.len() < addresses.len() {
        while waiting.peek().is_some_and(|address| resolver.ask(**address)) {
            waiting.next();
        }
        found.extend(resolver.answers());
        assert!(begin.elapsed() < Duration::from_secs(60), "{} answers", found.len());
        thread::sleep(Duration::from_millis(1));
    }
    found
}

fn one(reply: Reply) -> Found {
    let server = DnsServer::start(move |_| reply.clone());
    resolve(&server, [peer(1)].into_iter()).remove(&peer(1)).unwrap()
}

fn name(found: &Found) -> &str {
    match found {
        Found::Name { name, .. } => name,
        _ => panic!("{found:?}"),
    }
}

#[test]
fn a_name_comes_with_its_time_to_live() {
    let Found::Name { name, holds_s } = one(Reply::name("Db.Example.COM")) else { panic!("no name") };
    assert_eq!(name, "db.example.com");
    assert!((3590..=3600).contains(&holds_s), "{holds_s}");
}

#[test]
fn no_name_and_no_sense_are_told_apart() {
    assert_eq!(one(Reply::NoName), Found::NoName { holds_s: 0 });
    assert!(matches!(one(Reply::Names(Vec::new())), Found::NoName { .. }));
    assert_eq!(one(Reply::Failure), Found::Failed);
    // Not looked at, so it is as if nobody had answered.
    assert_eq!(one(Reply::Rubbish(b"\xff\xff rubbish".to_vec())), Found::Failed);
}

#[test]
fn of_several_names_always_the_same_is_chosen_and_none_that_reads_like_an_address() {
    for order in [["b.example", "a.example", "c.example"], ["c.example", "b.example", "a.example"]] {
        assert_eq!(name(&one(Reply::Names(order.map(labels).to_vec()))), "a.example");
    }
    assert!(matches!(one(Reply::name("10.0.0.9")), Found::NoName { .. }));
    assert!(matches!(one(Reply::Names(vec![labels("10.0.0.9"), labels("x.example")])), Found::Name { .. }));
    // More records than anybody needs, as many as fit into a datagram.
    let many = (0..40).map(|number| labels(&format!("n{number:03}.example"))).collect();
    assert_eq!(name(&one(Reply::Names(many))), "n000.example");
}

#[test]
fn hostile_bytes_become_one_bounded_word_of_a_label() {
    let hostile: [Vec<Vec<u8>>; 6] = [
        vec![b"it's = \"x\"\nDISABLE".to_vec()],
        vec![vec![0, 1, 2, 0xff, 0xfe, b'\'', b'\\']],
        vec![vec![b'x'; 63]; 3],
        vec![vec![0xc3; 63], vec![b' '; 63], vec![b'='; 63]],
        vec![b"SET".to_vec(), b"]:_sent".to_vec()],
        vec![b"a".to_vec(); 120],
    ];
    for labels in hostile {
        let found = one(Reply::Names(vec![labels.clone()]));
        let Found::Name { name, .. } = &found else {
            assert_eq!(found, Found::Failed, "{labels:?}");
            continue;
        };
        let clean = shared::peer::clean(name);
        assert!(clean.len() <= 253 && !clean.is_empty(), "{clean}");
        assert!(clean.chars().all(|c| c.is_alphanumeric() || "-._+/@*".contains(c)), "{clean}");
    }
}

#[test]
fn thousands_of_names_are_found() {
    let server = DnsServer::start(|address| Reply::name(&format!("host-{}.example", address.to_bits())));
    let found = resolve(&server, (0..5000).map(peer));
    for number in 0..5000 {
        assert_eq!(name(&found[&peer(number)]), format!("host-{}.example", 0x0a00_0000 | number));
    }
}

#[test]
fn silent_servers_neither_block_who_asks_nor_the_queue() {
    let silent = |address: Ipv4Addr| address.octets()[3] < 200;
    let server = DnsServer::start(move |address| match silent(address) {
        true => Reply::Silence,
        false => Reply::name("quick.example"),
    });
    let resolver = Resolver::start(server.servers()).unwrap();
    let begin = Instant::now();
    let taken = (0..10_000).filter(|&number| resolver.ask(peer(number % 200))).count();
    let _ = resolver.answers().count();
    // One answer alone is waited for longer.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!((WAITING..=WAITING + AT_ONCE + 1).contains(&taken), "{taken}");
}

#[test]
fn the_thread_ends_with_who_asks() {
    let server = DnsServer::start(|_| Reply::Silence);
    let (questions, waiting) = questions::channel(1);
    let (done, answers) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = server.servers();
    let thread = thread::spawn(move || runtime.block_on(serve(waiting, done, SystemNames::new(servers))));
    questions.try_send(peer(1)).unwrap();
    drop((questions, answers));
    let begin = Instant::now();
    thread.join().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4));
}

/// `tests/corpus/dns_answers`, and what comes of them by small changes: whatever can be read of an answer gives one bounded word, or none.
#[test]
fn answers_that_are_damaged_give_a_bounded_word_or_none() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/dns_answers");
    let seeds: Vec<Vec<u8>> =
        fs::read_dir(corpus).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let seconds = std::env::var("EBPF_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let (begin, mut tried, mut read, mut named) = (Instant::now(), 0_u64, 0_u64, 0_u64);
    while begin.elapsed() < Duration::from_secs(seconds) {
        for seed in &seeds {
            // As they are, first.
            let answer = damaged(seed, tried / seeds.len() as u64);
            tried += 1;
            let Ok(message) = Message::from_vec(&answer) else { continue };
            read += 1;
            let Some(name) = choose(names_in(&message.answers)) else { continue };
            named += 1;
            let clean = shared::peer::clean(&name);
            assert!(name.len() <= LONGEST && (1..=253).contains(&clean.len()), "{answer:?}: {name}");
            assert!(
                clean.chars().all(|c| c.is_alphanumeric() || "-._+/@*".contains(c)),
                "{answer:?}: {clean}"
            );
            assert!(name.parse::<IpAddr>().is_err(), "{answer:?}: {name}");
        }
    }
    eprintln!("{tried} answers, {read} of them can be read, {named} have a name");
    assert!(named > 100 && read < tried, "{tried} answers, {read} can be read, {named} have a name");
}

/// Up to three bytes are others, and in every fourth round the end is missing; round 0 changes nothing.
fn damaged(answer: &[u8], round: u64) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    let chance = |number: u64, bound: usize| {
        (BuildHasherDefault::<DefaultHasher>::default().hash_one((round, number)) % bound as u64) as usize
    };
    for change in 0..round.min(1 + round % 3) {
        let place = chance(change, bytes.len());
        bytes[place] = chance(change + 3, 256) as u8;
    }
    if round % 4 == 3 {
        bytes.truncate(chance(6, answer.len()));
    }
    bytes
}
