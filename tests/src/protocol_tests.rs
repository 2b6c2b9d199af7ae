//! Good and bad texts for the strict parser.

use crate::model::Output;
use crate::protocol::{Parser, parse};

const ANNOUNCED: &str = "\
CHART ebpf.io '' 'Calls to IO' calls/s VFS ebpf.io line 21003 1 '' ebpf.plugin process
DIMENSION vfs_read read incremental 1 1
DIMENSION vfs_write write incremental -1 1
";

fn with(rest: &str) -> Result<Output, String> {
    parse(format!("{ANNOUNCED}{rest}").as_bytes()).map_err(|violation| violation.to_string())
}

fn refused(rest: &str, reason: &str) {
    let violation = with(rest).expect_err("a bad text must be refused");
    assert!(violation.contains(reason), "`{rest}` refused for another reason: {violation}");
}

#[test]
fn blocks_become_histories_and_totals() {
    let output = with(
        "BEGIN ebpf.io\nSET vfs_read = 0\nSET vfs_write = 0\nEND\n\
                       BEGIN ebpf.io 1000000\nSET vfs_read = 7\nSET vfs_write = 5\nEND\n\
                       BEGIN ebpf.io 999999\nSET vfs_read = 9\nEND\n",
    )
    .unwrap();
    let chart = &output.charts["ebpf.io"];
    assert_eq!(chart.line.units, "calls/s");
    assert_eq!(chart.history("vfs_read"), [0, 7, 9]);
    assert_eq!(chart.total_after("vfs_read", 2), 7);
    assert_eq!(output.total("ebpf.io", "vfs_read"), 9);
    assert_eq!(output.total("ebpf.io", "vfs_write"), -5);
    assert_eq!(output.total("ebpf.io", "none"), 0);
    assert_eq!(output.total("ebpf.none", "none"), 0);
    assert!(output.counter_faults().is_empty());
}

#[test]
fn absolute_dimensions_are_summed() {
    let text = "CHART a.b '' t u f c stacked 1 1 '' p m\nDIMENSION x '' absolute 1 1\n\
                BEGIN a.b\nSET x = 3\nEND\nBEGIN a.b\nSET x = -1\nEND\n";
    assert_eq!(parse(text.as_bytes()).unwrap().total("a.b", "x"), 2);
}

#[test]
fn counters_that_lose_events_are_named() {
    let output =
        with("BEGIN ebpf.io\nSET vfs_read = 4\nEND\nBEGIN ebpf.io\nSET vfs_read = 3\nEND\n").unwrap();
    assert_eq!(
        output.counter_faults(),
        ["ebpf.io vfs_read starts at 4", "ebpf.io vfs_read goes from 4 down to 3"]
    );
}

#[test]
fn a_repeated_announcement_may_add_dimensions() {
    let again = format!("{ANNOUNCED}DIMENSION new '' incremental 1 1\nBEGIN ebpf.io\nSET new = 0\nEND\n");
    assert_eq!(with(&again).unwrap().charts["ebpf.io"].dimensions.len(), 3);
    refused(
        "CHART ebpf.io '' 'Calls to IO' calls VFS ebpf.io line 21003 1 '' ebpf.plugin process\n",
        "metadata",
    );
    refused(&ANNOUNCED.replace("read incremental 1 1", "read incremental 1 2"), "dimension changes");
}

#[test]
fn names_may_change_and_dimensions_may_go_and_come_back() {
    let renamed = ANNOUNCED.replace("vfs_read read", "vfs_read other");
    assert_eq!(with(&renamed).unwrap().charts["ebpf.io"].dimensions[0].name, "other");
    let obsolete = ANNOUNCED.replace("read incremental 1 1", "read incremental 1 1 obsolete");
    refused(&format!("{obsolete}BEGIN ebpf.io\nSET vfs_read = 1\nEND\n"), "obsolete dimension");
    let back = format!("{obsolete}{ANNOUNCED}BEGIN ebpf.io\nSET vfs_read = 1\nEND\n");
    assert!(!with(&back).unwrap().charts["ebpf.io"].dimensions[0].obsolete);
}

#[test]
fn order_of_commands() {
    refused("DIMENSION vfs_read read incremental 1 1\n", "twice in one announcement");
    refused("BEGIN ebpf.none\n", "unknown chart");
    refused("SET vfs_read = 1\n", "outside a block");
    refused("END\n", "END without BEGIN");
    refused("BEGIN ebpf.io\nEND\n", "without a value");
    refused("BEGIN ebpf.io\n\n", "empty line");
    refused("BEGIN ebpf.io\nBEGIN ebpf.io\n", "is open");
    refused("BEGIN ebpf.io\nSET none = 1\n", "unknown dimension");
    refused("BEGIN ebpf.io\nSET vfs_read = 1\nSET vfs_read = 1\n", "set twice");
    refused(&format!("BEGIN ebpf.io\n{ANNOUNCED}"), "CHART inside");
    refused("BEGIN ebpf.io\nSET vfs_read = 1\nEND\nDIMENSION x '' incremental 1 1\n", "without a CHART");
    refused("BEGIN ebpf.io\nSET vfs_read = 1\n", "between BEGIN and END");
    refused("BEGIN ebpf.io 5\n", "before there was an update");
    assert!(parse(b"DIMENSION x '' incremental 1 1\n").is_err());
    refused("CHART a.b '' t u f c line 1 1 '' p m\nBEGIN a.b\n", "has no dimension");
}

#[test]
fn words_that_the_agent_would_repair() {
    refused("# comment\n", "unknown command");
    refused("END now\n", "takes no words");
    refused("BEGIN ebpf.io\nSET vfs_read = \n", "dimension and a value");
    for value in ["1.5", "0x10", "010", "+1", "-0", "x", "9223372036854775808", "''"] {
        refused(&format!("BEGIN ebpf.io\nSET vfs_read = {value}\n"), "no plain decimal");
    }
    refused("CHART a '' t u f c line 1 1 '' p m\n", "without a dot");
    refused("CHART a.b/c '' t u f c line 1 1 '' p m\n", "replaces");
    refused("CHART a.b '' t u f '' line 1 1 '' p m\n", "is empty");
    refused("CHART a.b '' t u f c line 1 1 '' p ''\n", "is empty");
    refused("CHART a.b '' t u f c line 1 1 '' p\n", "all 12 fields");
    refused("CHART a.b '' t u f c pie 1 1 '' p m\n", "is none of");
    refused("CHART a.b '' t '' f c line 1 1 '' p m\n", "empty units");
    refused("CHART a.b '' t u f c line 1 0 '' p m\n", "not above 0");
    refused("CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION 'a b' '' absolute 1 1\n", "unclean");
    refused("CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION a '' gauge 1 1\n", "is none of");
    refused("CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION a '' absolute 0 1\n", "multiplier 0");
    refused("CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION a '' absolute 1 0\n", "not above 0");
}

#[test]
fn violations_name_the_line() {
    let violation = parse(b"DISABLE\nNONSENSE x\n").unwrap_err();
    assert_eq!(violation.to_string(), "line 2: unknown command NONSENSE: `NONSENSE x`");
    assert!(parse(b"DISABLE").unwrap_err().rule.contains("no end"));
    let mut parser = Parser::default();
    parser.line(b"DISABLE").unwrap();
    assert!(parser.finish().unwrap().disabled);
}
