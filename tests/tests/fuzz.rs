//! Every parser of foreign text and bytes, fed with mutations of `tests/corpus/TARGET/*`: no panic, no hang, no unbounded answer.
//!
//! `EBPF_FUZZ_SECONDS`: how long for each target (default 2). What is found is written beside the corpus, so that it is tried first ever after.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::apps::{AppsGroups, ProcessTable};
use shared::config::{self, Overrides};
use shared::filter::Services;
use shared::host;
use shared::pattern::SimplePattern;
use shared::peer::{self, Protocol};
use shared::table::{MODULES, Table};
use shared::wire::{self, ToSupervisor, ToWorker};
use tests::chaos::Chance;
use tests::words::split;

/// No input of a few kB may take longer.
const LONGEST: Duration = Duration::from_secs(1);
const MOST_BYTES: usize = 64 << 10;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Tries the corpus as it is, then mutations of it until the time is over.
fn fuzz(target: &str, parse: fn(&[u8])) {
    let files = fs::read_dir(corpus(target)).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let seeds: Vec<Vec<u8>> = files.collect();
    assert!(!seeds.is_empty(), "no corpus");
    seeds.iter().for_each(|seed| attempt(target, parse, seed));
    let seconds = std::env::var("EBPF_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut chance = Chance::new(std::process::id().into());
    let mut tried = 0_u64;
    while Instant::now() < end {
        let mut input = seeds[chance.below(seeds.len() as u64) as usize].clone();
        for _ in 0..=chance.below(8) {
            mutate(&mut input, &seeds, &mut chance);
        }
        input.truncate(MOST_BYTES);
        attempt(target, parse, &input);
        tried += 1;
    }
    eprintln!("{target}: {tried} inputs in {seconds} s");
}

fn attempt(target: &str, parse: fn(&[u8]), input: &[u8]) {
    let start = Instant::now();
    let outcome = catch_unwind(|| parse(input));
    if outcome.is_err() || start.elapsed() > LONGEST {
        let file = corpus(target).join(format!("found-{}-{}", std::process::id(), input.len()));
        fs::write(&file, input).unwrap();
        panic!("{target}: {:?} after {:?}; the input is {}", outcome.err(), start.elapsed(), file.display());
    }
}

/// One small change: of a bit or byte, of a piece, of a number, or a piece of another input.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    const WORDS: [&[u8]; 12] = [
        b"\0",
        b"\n",
        b"18446744073709551616",
        b"-1",
        b"=",
        b"[",
        b"*",
        b"!",
        b"\xff\xfe",
        b"/",
        b"\"",
        b"::",
    ];
    let mut place = |length: usize| chance.below(length as u64 + 1) as usize;
    let at = place(input.len());
    match place(6) {
        0 if at < input.len() => input[at] ^= 1 << place(7),
        1 if at < input.len() => input[at] = place(255) as u8,
        2 => drop(input.drain(at..(at + place(16)).min(input.len()))),
        3 => drop(input.splice(at..at, WORDS[place(WORDS.len() - 1)].iter().copied())),
        4 => {
            let piece: Vec<u8> = input[at..(at + place(64)).min(input.len())].repeat(1 + place(40));
            drop(input.splice(at..at, piece));
        }
        5 => {
            let other = &seeds[place(seeds.len() - 1)];
            let from = place(other.len());
            let piece = other[from..(from + place(200)).min(other.len())].to_vec();
            drop(input.splice(at..at, piece));
        }
        _ => input.truncate(at),
    }
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

#[test]
fn configuration() {
    fuzz("configuration", |input| {
        let loaded = config::parse(Path::new("ebpf.conf"), input, Overrides::default());
        assert!(loaded.diagnostics.len() < 100);
    });
}

#[test]
fn apps_groups() {
    fuzz("apps_groups", |input| {
        let (groups, remarks) = AppsGroups::parse(input, Path::new("apps_groups.conf"));
        assert!(remarks.len() < 1000);
        groups.match_process(b"nginx", Some(b"nginx\0-g\0daemon off;"));
        groups.match_process(&input[..input.len().min(15)], Some(input));
    });
}

#[test]
fn messages() {
    let file = corpus("wire_worker").join("log");
    if !file.exists() {
        let message =
            ToSupervisor::Failed { stage: "start".to_owned(), cause: "x".to_owned(), hint: "y".to_owned() };
        fs::write(&file, wire::encode(&message).unwrap()).unwrap();
    }
    fuzz("wire_worker", |input| {
        drop(wire::decode::<ToSupervisor>(input));
        drop(wire::decode::<ToWorker>(input));
    });
}

#[test]
fn hooks_of_the_user() {
    fuzz("hooks", |input| {
        for module in MODULES {
            let mut table = Table::of(module).unwrap();
            drop(table.replace_hooks(&text(input)));
        }
    });
}

#[test]
fn services() {
    fuzz("services", |input| {
        let services = Services::new(&BTreeMap::new(), input);
        services.ports_named("domain");
    });
}

/// The name of a peer as its owner's name server has it, and of a service as the user has it: in the lines that announce and set its dimension they
/// are one word each, and no more of a label than their own part.
#[test]
fn names_of_peers() {
    fuzz("names", |input| {
        let (service, host) = input.split_at(input.len() / 3);
        let (service, host) = (text(service), text(host));
        for address in ["10.0.0.9", "::ffff:10.0.0.9", "fd00::9"] {
            let address = address.parse().unwrap();
            let id = peer::sent(&peer::outbound(&service, Protocol::Tcp, address, None));
            let name = peer::sent(&peer::outbound(&service, Protocol::Tcp, address, Some(&host)));
            for (line, words) in [
                (
                    format!("DIMENSION {id} '{name}' incremental -1 1"),
                    vec!["DIMENSION", &id, &name, "incremental", "-1", "1"],
                ),
                (format!("SET {name} = 1"), vec!["SET", &name, "1"]),
            ] {
                assert_eq!(split(line.as_bytes()).unwrap(), words, "{line}");
            }
            let parts = name.split(['[', ']']).next().unwrap().matches(':').count();
            assert_eq!(parts, 2, "{name}");
        }
    });
}

#[test]
fn patterns() {
    fuzz("patterns", |input| {
        let text = text(input);
        let name: String = text.chars().take(40).collect();
        SimplePattern::parse(&text).matches(&name);
    });
}

#[test]
fn texts_of_the_kernel() {
    fuzz("kernel", |input| {
        let text = text(input);
        host::parse_config(&text);
        host::lockdown_in_force(&text);
        host::rejected_by(&text, &text);
    });
}

#[test]
fn processes() {
    fuzz("proc", |input| {
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let process = root.path().join("4242");
        fs::create_dir(&process).unwrap();
        for file in ["stat", "status", "cmdline", "comm"] {
            fs::write(process.join(file), input).unwrap();
        }
        let (groups, _) = AppsGroups::parse(b"py: *python*\n", Path::new("apps_groups.conf"));
        let mut table = ProcessTable::new(groups, root.path());
        drop(table.seed());
        table.remember_command_line(4242, 1, input);
    });
}
