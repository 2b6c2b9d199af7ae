//! The parser and the matcher on literal texts.

use std::collections::HashSet;
use std::fs;

use super::super::parser::{MAX_PATTERNS, MAX_REMARKS};
use super::*;
use crate::diagnostic::Level;

fn parse(text: &str) -> (AppsGroups, Vec<Diagnostic>) {
    AppsGroups::parse(text.as_bytes(), Path::new("/etc/netdata/apps_groups.conf"))
}

/// Groups of a text that must give no remark.
fn clean(text: &str) -> AppsGroups {
    let (groups, remarks) = parse(text);
    assert_eq!(remarks, [], "{text}");
    groups
}

fn name<'a>(groups: &'a AppsGroups, comm: &str) -> &'a str {
    groups.match_name(comm.as_bytes()).map_or("-", |group| groups.id(group))
}

fn line<'a>(groups: &'a AppsGroups, comm: &str, command_line: &str) -> &'a str {
    let group = groups.match_process(comm.as_bytes(), Some(command_line.as_bytes()));
    group.map_or("-", |group| groups.id(group))
}

#[test]
fn each_kind_of_pattern_matches_its_part() {
    let groups = clean("exact: bash\nprefix: ssh*\nsuffix: *udevd\nsub: *charts.d.plugin*\n");
    assert_eq!(name(&groups, "bash"), "exact");
    assert_eq!(name(&groups, "Bash"), "-");
    assert_eq!(name(&groups, "bash2"), "-");
    assert_eq!(name(&groups, "ssh"), "prefix");
    assert_eq!(name(&groups, "sshd"), "prefix");
    assert_eq!(name(&groups, "xssh"), "-");
    assert_eq!(name(&groups, "systemd-udevd"), "suffix");
    assert_eq!(name(&groups, "udevd2"), "-");
    assert_eq!(line(&groups, "bash2", "bash /usr/libexec/charts.d.plugin 1 "), "sub");
    assert_eq!(
        line(&groups, "charts.d.plugin", "bash x "),
        "-",
        "a command line that can be read counts alone"
    );
    assert_eq!(name(&groups, "charts.d.plugin"), "sub", "the name stands in for the command line");
    assert_eq!(line(&groups, "charts.d.plugin", ""), "sub");
    assert!(groups.reads_command_lines());
    assert!(!clean("a: b c* *d").reads_command_lines());
}

#[test]
fn options_of_patterns_may_stand_in_any_order() {
    let groups = clean("-hidden: -a +b -+*c +*-d*\n--x: e");
    assert_eq!(groups.groups(), ["hidden", "x", "other"]);
    for (comm, group) in [("a", "hidden"), ("b", "hidden"), ("xc", "hidden"), ("xdx", "hidden"), ("e", "x")] {
        assert_eq!(name(&groups, comm), group, "{comm}");
    }
}

#[test]
fn an_asterisk_alone_matches_everything_behind_it() {
    for all in ["*", "**"] {
        let groups = clean(&format!("a: bash\nrest: {all}\nnever: zsh"));
        assert_eq!(name(&groups, "bash"), "a");
        assert_eq!(name(&groups, "zsh"), "rest");
    }
}

#[test]
fn the_first_pattern_of_the_file_wins_whatever_its_kind() {
    let groups = clean("a: *nut*\nb: upsd\nc: up*\nd: *smon\ne: upsmon");
    assert_eq!(line(&groups, "upsd", "/sbin/nut/upsd "), "a");
    assert_eq!(line(&groups, "upsd", "/sbin/upsd "), "b");
    assert_eq!(line(&groups, "upsmon", "/sbin/upsmon "), "c");
    assert_eq!(line(&groups, "xsmon", "/sbin/xsmon "), "d");
    let reversed = clean("e: upsmon\nd: *smon\nc: up*\na: *nut*");
    assert_eq!(line(&reversed, "upsmon", "/nut/upsmon "), "e");
    assert_eq!(line(&reversed, "upsd", "/nut/upsd "), "c");
}

#[test]
fn repeated_groups_add_and_order_is_that_of_first_patterns() {
    let groups = clean("sql: mysqld\n\nweb : nginx\nsql:\tpostgres* # and so on\n# no: thing\n");
    assert_eq!(groups.groups(), ["sql", "web", "other"]);
    assert_eq!(name(&groups, "postgres"), "sql");
    assert_eq!(groups.other().index(), 2);
    assert_eq!(groups.pattern_count(), 3);
}

#[test]
fn a_group_named_other_is_the_default_group() {
    let groups = clean("a: x\nother: y\nb: z");
    assert_eq!(groups.groups(), ["a", "other", "b"]);
    assert_eq!(groups.match_name(b"y"), Some(groups.other()));
    assert_eq!(groups.other().index(), 1);
}

#[test]
fn quotes_keep_words_together() {
    let groups = clean("media: 'Plex Media Serv' \"it's\" '*aws s3*'\r\nb: c\r\n");
    assert_eq!(name(&groups, "Plex Media Serv"), "media");
    assert_eq!(name(&groups, "it's"), "media");
    assert_eq!(line(&groups, "aws", "aws s3 ls "), "media");
    assert_eq!(name(&groups, "c"), "b");
}

fn only_remark(remarks: &[Diagnostic]) -> (Level, Option<usize>, &str) {
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    (remarks[0].level, remarks[0].line, &remarks[0].message)
}

#[test]
fn an_open_quote_costs_its_line_only() {
    let (groups, remarks) = parse("a: 'x y\nb: z # 'not a quote\nc: q");
    assert_eq!(only_remark(&remarks).1, Some(1));
    assert_eq!((name(&groups, "x y"), name(&groups, "z"), name(&groups, "q")), ("a", "b", "c"));
}

#[test]
fn names_that_no_dimension_can_have_are_replaced_once() {
    let (groups, remarks) =
        parse("'my group': a\nmy_group: b\n'my group': c\n\"a='b\": d\nb\\: e\ng\x1b: f\n");
    assert_eq!(groups.groups(), ["my_group_2", "my_group", "a__b", "b_", "g_", "other"]);
    assert_eq!(name(&groups, "c"), "my_group_2");
    let lines: Vec<_> = remarks.iter().map(|remark| remark.line).collect();
    assert_eq!(lines, [Some(1), Some(4), Some(5), Some(6)]);
    assert!(remarks[0].message.contains("`my group`") && remarks[0].message.contains("`my_group_2`"));
    assert!(remarks[3].message.contains("g\\x1b"), "{}", remarks[3].message);
}

#[test]
fn names_need_not_be_utf8_but_ids_are() {
    let (groups, remarks) = AppsGroups::parse(b"a\xff: \xff\xfe*\nd\xc3\xa9j\xc3\xa0: x", Path::new("f"));
    assert_eq!(groups.groups(), ["a_", "d\u{e9}j\u{e0}", "other"]);
    assert_eq!(groups.match_name(b"\xff\xfe\x01"), Some(GroupId(0)));
    assert_eq!(only_remark(&remarks).1, Some(1));
}

#[test]
fn long_names_are_cut_at_a_character() {
    let name_of_99 = "n".repeat(99);
    let (groups, remarks) =
        parse(&format!("{name_of_99}\u{e9}x: a\n{}: *{}*\n", "m".repeat(100), "p".repeat(150)));
    assert_eq!(groups.groups(), [name_of_99, "m".repeat(100), "other".to_owned()]);
    assert_eq!(line(&groups, "x", &"p".repeat(100)), "m".repeat(100), "a cut pattern keeps its kind");
    assert_eq!(remarks.len(), 2);
}

#[test]
fn useless_lines_are_told_and_skipped() {
    let (groups, remarks) = parse("empty:\n-: x\na: - b\nc: b d\nb: d\n");
    assert_eq!(
        groups.groups(),
        ["a", "c", "other"],
        "a group whose patterns all belong to others makes no dimension"
    );
    let told: Vec<_> = remarks.iter().map(|remark| (remark.level, remark.line.unwrap())).collect();
    use Level::{Info, Warning};
    assert_eq!(told, [(Info, 1), (Warning, 2), (Warning, 3), (Info, 4), (Info, 5)]);
    assert!(remarks[3].message.contains("line 3"), "{}", remarks[3].message);
    assert_eq!((name(&groups, "b"), name(&groups, "d")), ("a", "c"));
}

#[test]
fn no_group_at_all_is_told() {
    for text in ["", "\n\n", "# nothing\n"] {
        let (groups, remarks) = parse(text);
        assert_eq!(groups.groups(), ["other"]);
        assert_eq!(only_remark(&remarks).0, Level::Warning);
    }
}

#[test]
fn a_binary_file_gives_few_remarks_and_keeps_its_good_lines() {
    let mut text = b"\xef\xbb\xbfa: x\n".to_vec();
    text.extend([b"\0\0b: y\n".as_slice(); 1000].concat());
    text.extend(b"c: z");
    let (groups, remarks) = AppsGroups::parse(&text, Path::new("f"));
    assert_eq!(groups.groups(), ["a", "c", "other"]);
    assert_eq!(remarks.len(), MAX_REMARKS + 1);
    assert!(remarks[MAX_REMARKS].message.contains("980 more"), "{}", remarks[MAX_REMARKS]);
}

#[test]
fn too_many_groups_and_patterns_are_bounded() {
    let text: String = (0..70_000).map(|number| format!("g{number}: p{number}\n")).collect();
    let (groups, remarks) = parse(&text);
    assert_eq!(groups.groups().len(), usize::from(u16::MAX) + 1);
    assert_eq!(groups.id(groups.other()), "other");
    assert!(!remarks.is_empty());
    let text: String = (0..70_000).map(|number| format!("g: *p{number}*\n")).collect();
    assert_eq!(parse(&text).0.pattern_count(), MAX_PATTERNS);
}

/// Any bytes: no panic, and ids that the protocol can carry, all different.
#[test]
fn random_bytes_never_panic() {
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    const ALPHABET: &[u8] = b"ab :\t\n\r'\"*-+#=\\\0\xff\xc3\xa9\xef\xbf\xbd other";
    for round in 0..3000 {
        let length = random() % 400;
        let text: Vec<u8> = (0..length)
            .map(|_| match (round % 2, random()) {
                (0, byte) => byte as u8,
                (_, at) => ALPHABET[at as usize % ALPHABET.len()],
            })
            .collect();
        let (groups, _) = AppsGroups::parse(&text, Path::new("f"));
        let unique: HashSet<_> = groups.groups().iter().collect();
        assert_eq!(unique.len(), groups.groups().len());
        for id in groups.groups() {
            let is_bad = |c: char| c.is_whitespace() || c.is_control() || "'\"=\\".contains(c);
            assert!(!id.is_empty() && !id.contains(is_bad), "{id:?} from {text:?}");
        }
        groups.match_process(&text[..text.len().min(15)], Some(&text));
    }
}

#[test]
fn the_users_file_comes_before_the_stock_file() {
    let user = tempfile::tempdir().unwrap();
    let stock = tempfile::tempdir().unwrap();
    let dirs = (Some(user.path()), Some(stock.path()));
    let load = || AppsGroups::load(dirs.0, dirs.1);

    let (groups, remarks) = load();
    assert_eq!(groups.groups(), ["other"]);
    assert_eq!((groups.source(), remarks.len()), (None, 1));
    assert!(remarks[0].message.contains(stock.path().to_str().unwrap()), "{}", remarks[0]);

    fs::write(stock.path().join(FILE_NAME), "stock: a").unwrap();
    let (groups, remarks) = load();
    assert_eq!((groups.groups()[0].as_str(), remarks.len()), ("stock", 0));

    // What is no file is told, and the other one read.
    fs::create_dir(user.path().join(FILE_NAME)).unwrap();
    let (groups, remarks) = load();
    assert_eq!((groups.groups()[0].as_str(), remarks.len()), ("stock", 1));

    fs::remove_dir(user.path().join(FILE_NAME)).unwrap();
    fs::write(user.path().join(FILE_NAME), "user: a").unwrap();
    let (groups, remarks) = load();
    assert_eq!((groups.groups()[0].as_str(), remarks.len()), ("user", 0));
    assert_eq!(groups.source(), Some(user.path().join(FILE_NAME).as_path()));

    let (groups, remarks) = AppsGroups::load(None, None);
    assert_eq!((groups.groups().len(), remarks.len()), (1, 1));
}

#[test]
fn a_huge_file_is_read_up_to_its_bound() {
    let user = tempfile::tempdir().unwrap();
    let mut text = b"a: x\n".to_vec();
    text.resize(MAX_FILE_BYTES - 5, b'#');
    text.extend(b"\nb: this line does not fit\nc: y\n");
    fs::write(user.path().join(FILE_NAME), text).unwrap();
    let (groups, remarks) = AppsGroups::load(Some(user.path()), None);
    assert_eq!(groups.groups(), ["a", "other"]);
    assert!(only_remark(&remarks).2.contains("larger than"));
}

/// Debian's own file, where its package is installed.
#[test]
fn the_packaged_file_is_understood() {
    let stock = Path::new("/usr/lib/netdata/conf.d");
    if !stock.join(FILE_NAME).exists() {
        return;
    }
    let (groups, remarks) = AppsGroups::load(None, Some(stock));
    let warnings: Vec<_> = remarks.iter().filter(|remark| remark.level >= Level::Warning).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(groups.groups()[0], "netdata");
    assert!(groups.groups().len() > 50 && groups.reads_command_lines());
    assert_eq!(name(&groups, "sshd"), "ssh");
    assert_eq!(
        line(&groups, "bash", "bash /usr/libexec/netdata/plugins.d/charts.d.plugin 1 "),
        "charts.d.plugin"
    );
    assert_eq!(name(&groups, "kthreadd"), "kernel");
}
