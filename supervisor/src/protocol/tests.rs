use super::*;

#[test]
fn hostile_names_cannot_leave_their_word() {
    assert_eq!(word("a b='c\n"), "a_b__c_");
    assert_eq!(text("it's\na"), "it`s a");
}

fn chart(dimensions: Vec<Dimension>) -> Chart {
    Chart {
        id: "ebpf.c".to_owned(),
        title: "t".to_owned(),
        unit: "u".to_owned(),
        family: "f".to_owned(),
        shape: Shape::Stacked,
        priority: 1,
        module: "m".to_owned(),
        dimensions,
    }
}

/// What is printed for one state of the chart, without its CHART line and without microseconds.
fn lines(protocol: &mut Protocol<Vec<u8>>, dimensions: Vec<Dimension>) -> Vec<String> {
    protocol.publish(&[chart(dimensions)]).unwrap();
    let text = String::from_utf8(std::mem::take(&mut protocol.out)).unwrap();
    let plain = |line: &str| match line.strip_prefix("BEGIN ebpf.c") {
        Some(_) => "BEGIN".to_owned(),
        None => line.to_owned(),
    };
    text.lines().filter(|line| !line.starts_with("CHART")).map(plain).collect()
}

fn dimension(id: &str, name: &str, before: u64, value: u64) -> Dimension {
    Dimension::given(id, name, -1, before, value)
}

#[test]
fn a_chart_without_dimensions_is_not_mentioned() {
    let mut protocol = Protocol::new(Vec::new(), 1);
    assert_eq!(lines(&mut protocol, Vec::new()), [""; 0]);
    assert_eq!(lines(&mut protocol, Vec::new()), [""; 0]);
}

#[test]
fn a_new_dimension_begins_with_what_it_was_before() {
    let mut protocol = Protocol::new(Vec::new(), 1);
    assert_eq!(
        lines(&mut protocol, vec![dimension("a", "", 0, 0)]),
        ["DIMENSION a '' incremental -1 1", "BEGIN", "SET a = 0", "END"]
    );
    assert_eq!(
        lines(&mut protocol, vec![dimension("a", "", 0, 3), dimension("b", "", 40, 42)]),
        [
            "DIMENSION b '' incremental -1 1",
            "BEGIN",
            "SET a = 3",
            "SET b = 40",
            "END",
            "BEGIN",
            "SET a = 3",
            "SET b = 42",
            "END"
        ]
    );
}

#[test]
fn one_that_is_gone_is_obsolete_and_may_come_back() {
    let mut protocol = Protocol::new(Vec::new(), 1);
    lines(&mut protocol, vec![dimension("a", "x", 0, 5), dimension("b", "", 0, 1)]);
    assert_eq!(
        lines(&mut protocol, vec![dimension("b", "", 1, 1)]),
        ["DIMENSION a 'x' incremental -1 1 obsolete", "BEGIN", "SET b = 1", "END"]
    );
    // One goes as another comes.
    assert_eq!(
        lines(&mut protocol, vec![dimension("a", "x", 5, 7)])[..2],
        ["DIMENSION b '' incremental -1 1 obsolete", "DIMENSION a 'x' incremental -1 1"]
    );
    assert_eq!(lines(&mut protocol, vec![dimension("a", "x", 7, 7)]), ["BEGIN", "SET a = 7", "END"]);
}

#[test]
fn a_changed_name_is_announced_once_and_an_empty_one_as_the_id() {
    let mut protocol = Protocol::new(Vec::new(), 1);
    lines(&mut protocol, vec![dimension("a", "", 0, 5)]);
    let named = lines(&mut protocol, vec![dimension("a", "host", 5, 6)]);
    assert_eq!(named, ["DIMENSION a 'host' incremental -1 1", "BEGIN", "SET a = 6", "END"]);
    assert_eq!(lines(&mut protocol, vec![dimension("a", "host", 6, 6)]).len(), 3);
    assert_eq!(lines(&mut protocol, vec![dimension("a", "", 6, 6)])[0], "DIMENSION a 'a' incremental -1 1");
    assert_eq!(lines(&mut protocol, vec![dimension("a", "", 6, 6)]).len(), 3);
}

#[test]
fn a_long_silence_ends_with_an_empty_line() {
    let mut protocol = Protocol::new(Vec::new(), 1);
    protocol.keep_alive().unwrap();
    assert_eq!(protocol.out, b"");
    protocol.last_line -= LONGEST_SILENCE;
    protocol.keep_alive().unwrap();
    protocol.keep_alive().unwrap();
    assert_eq!(protocol.out, b"\n");
    protocol.last_line -= LONGEST_SILENCE;
    lines(&mut protocol, vec![dimension("a", "", 0, 1)]);
    protocol.keep_alive().unwrap();
    assert_eq!(protocol.out, b"", "there is something to say");
}
