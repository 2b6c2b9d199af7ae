//! Files that are no configuration at all: they cost remarks, never a panic, a hang, or a flood of lines.

use super::*;

/// Marsaglia's xorshift: the same bytes in every run.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn check(bytes: &[u8]) {
    let loaded = parse(Path::new("f"), bytes, Overrides::default());
    let lines = bytes.split(|&byte| byte == b'\n').count();
    // 40 remarks about lines, the count of the others, and the few about contradictions.
    assert!(loaded.diagnostics.len() <= 48, "{}", loaded.diagnostics.len());
    for remark in &loaded.diagnostics {
        assert!(remark.line.is_none_or(|line| (1..=lines).contains(&line)), "{remark}");
        assert!(!remark.message.contains(char::is_control), "{remark}");
        assert!(remark.message.len() < 1_000, "{remark}");
    }
    let config = loaded.config;
    assert!(config.programs.process || config.programs.network_viewer);
    assert!((2..=100_000).contains(&config.network_viewer.maximum_dimensions));
    assert!((64..=4_194_304).contains(&config.pid_table_size));
}

#[test]
fn random_bytes() {
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    let bytes: Vec<u8> = (0..200_000).map(|_| random.next() as u8).collect();
    check(&bytes);
    for _ in 0..2_000 {
        let length = random.below(300);
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        check(&bytes);
    }
}

#[test]
fn random_pieces_of_configuration() {
    let headings: Vec<String> = options::section_names().map(|section| format!("\n[{section}]\n")).collect();
    let mut pieces: Vec<&[u8]> = vec![
        b"\n", b"\n", b"\n", b" = ", b"=", b"[", b"]", b"#", b"\0", b"\xff", b"yes", b"no", b"0", b"\x1b[1m",
    ];
    for row in OPTIONS {
        row.names().for_each(|name| pieces.push(name.as_bytes()));
    }
    pieces.extend(headings.iter().map(String::as_bytes));
    let mut random = Xorshift(42);
    for _ in 0..3_000 {
        let bytes: Vec<u8> = (0..60).flat_map(|_| pieces[random.below(pieces.len())]).copied().collect();
        check(&bytes);
    }
}

#[test]
fn the_stock_file_with_changed_bytes() {
    let mut random = Xorshift(7);
    for _ in 0..2_000 {
        let mut bytes = STOCK.as_bytes().to_vec();
        for _ in 0..5 {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        check(&bytes);
    }
}

#[test]
fn one_megabyte_of_each_kind_of_line() {
    for line in [
        "a\n",
        "[a]\n",
        "[global]\nload = x\n",
        "[service name]\n1=a\n",
        "=",
        "\0",
        "[",
        "[global]\nports=\n",
        "[network viewer]\nports = 1 2 3\n",
    ] {
        check(line.repeat((1 << 20) / line.len()).as_bytes());
    }
    let sections: String = (0..60_000).map(|number| format!("[{number}]\na=b\n")).collect();
    check(sections.as_bytes());
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let remark = only_remark("[global]\n\x1b[2Jload = x\n");
    assert_eq!(remark, "Warning f:2: unknown option `\\u{1b}[2Jload` in [global]; the line is ignored");
}
