//! Faults in an otherwise readable file: the exact remark, and what is used instead.

use super::*;

#[test]
fn unknown_names() {
    assert_eq!(
        only_remark("[global]\nebpf load moed = return\n"),
        "Warning f:2: unknown option `ebpf load moed` in [global], did you mean `ebpf load mode`?; the line \
         is ignored"
    );
    assert_eq!(
        only_remark("[global]\nApps = no\n"),
        "Warning f:2: unknown option `Apps` in [global], did you mean `apps`?; the line is ignored"
    );
    assert_eq!(
        only_remark("[global]\ncolour = blue\n"),
        "Warning f:2: unknown option `colour` in [global]; the line is ignored"
    );
    assert_eq!(
        only_remark("[global]\nports = 80\n"),
        "Warning f:2: `ports` belongs to [network viewer], not to [global]; the line is ignored"
    );
    assert_eq!(
        only_remark("[Global]\nload = return\napps = no\n"),
        "Warning f:1: unknown section [Global], did you mean [global]?; its lines are ignored"
    );
    assert_eq!(
        only_remark("[`elsewhere`]\na = b\n"),
        "Warning f:1: unknown section [`elsewhere`]; its lines are ignored"
    );
}

#[test]
fn bad_values_leave_the_default() {
    for (line, remark) in [
        (
            "ebpf load mode = both",
            "`ebpf load mode` must be entry or return, not `both`; the default `entry` is used",
        ),
        (
            "load =",
            "`load` must be entry or return, not nothing; the default `ebpf load mode = entry` is used",
        ),
        ("disable apps = maybe", "`disable apps` must be yes or no, not `maybe`; the default `no` is used"),
        ("apps = maybe", "`apps` must be yes or no, not `maybe`; the default `disable apps = no` is used"),
        (
            "update every = 1s",
            "`update every` must be a number from 1 to 86400 without leading zeros, not `1s`; the option \
             stays unset",
        ),
        (
            "pid table size = 010000",
            "`pid table size` must be a number from 64 to 4194304 without leading zeros, not `010000`; the \
             default `32768` is used",
        ),
        (
            "btf path = btf",
            "`btf path` must be an absolute path, not `btf`; the default `/sys/kernel/btf/` is used",
        ),
        (
            "ebpf co-re tracing = magic",
            "`ebpf co-re tracing` must be trampoline or tracepoint or probe, not `magic`; the option \
             stays unset",
        ),
    ] {
        let loaded = parsed(&format!("[global]\n{line}\n"));
        assert_eq!(shown(&loaded), [format!("Warning f:2: {remark}")]);
        assert_eq!(loaded.config, Config::default(), "{line}");
    }
}

#[test]
fn the_number_of_dimensions_is_kept_within_its_bounds() {
    let dimensions = |text: &str| {
        let loaded = parsed(&format!("[network viewer]\nmaximum dimensions = {text}\n"));
        (loaded.config.network_viewer.maximum_dimensions, shown(&loaded).concat())
    };
    let small = "Warning f:2: `maximum dimensions` is `0`, which is too small; 2 is used";
    assert_eq!(dimensions("0"), (2, small.to_owned()));
    for text in ["-1", "abc", "100001", "99999999999999999999", "50 0", "0500", "1e3"] {
        let (number, remark) = dimensions(text);
        assert_eq!(number, 500, "{text}");
        let must = "`maximum dimensions` must be a number from 2 to 100000 without leading zeros";
        assert_eq!(remark, format!("Warning f:2: {must}, not `{text}`; the default `500` is used"));
    }
}

#[test]
fn an_option_given_twice() {
    let loaded = parsed("[network viewer]\nports = 1\n[network connections]\nports = 2\n");
    assert_eq!(
        shown(&loaded),
        ["Warning f:2: `ports` is set again in line 4, which wins; this line is ignored"]
    );
    assert_eq!(texts(&loaded.config.network_viewer.ports), ["2"]);

    let loaded = parsed("[global]\nload = return\nebpf load mode = entry\n");
    let remark =
        "Warning f:3: `load` in line 2 decides the same as `ebpf load mode` and wins; this line is ignored";
    assert_eq!(shown(&loaded), [remark]);
    assert_eq!(loaded.config.load_mode, LoadMode::Return);

    let loaded = parsed("[ebpf programs]\nsocket = no\nnetwork viewer = yes\n");
    let remark =
        "Warning f:2: `network viewer` in line 3 decides the same as `socket` and wins; this line is ignored";
    assert_eq!(shown(&loaded), [remark]);
    assert!(loaded.config.programs.network_viewer);
}

#[test]
fn whoever_disables_the_applications_wins() {
    for (text, apps, loser, winner) in [
        ("apps = yes\ndisable apps = yes", false, "2: `disable apps` in line 3", "`apps`"),
        ("disable apps = yes\napps = yes", false, "3: `disable apps` in line 2", "`apps`"),
        ("apps = no\ndisable apps = no", false, "3: `apps` in line 2", "`disable apps`"),
        ("apps = yes\ndisable apps = no", true, "2: `disable apps` in line 3", "`apps`"),
    ] {
        let loaded = parsed(&format!("[global]\n{text}\n"));
        assert_eq!(loaded.config.apps, apps, "{text}");
        let remark = format!("Warning f:{loser} decides the same as {winner} and wins; this line is ignored");
        assert_eq!(shown(&loaded), [remark], "{text}");
    }
}

#[test]
fn contradictions_name_the_winner() {
    let loaded = parsed("[ebpf programs]\nprocess = no\nnetwork viewer = no\n");
    assert_eq!(loaded.config.programs, Config::default().programs);
    assert_eq!(
        shown(&loaded),
        ["Warning f:3: [ebpf programs] enables neither `process` nor `network viewer`; both \
          are enabled, as Netdata does. To run none, set `ebpf = no` in [plugins] of netdata.conf"]
    );

    let loaded = parsed("[ebpf programs]\nnetwork viewer = no\nnetwork connection monitoring = yes\n");
    assert!(!loaded.config.programs.network_connections);
    assert_eq!(
        shown(&loaded),
        ["Warning f:3: `network connection monitoring` needs `network viewer`, which is disabled and \
          wins; there are no inbound and outbound charts"]
    );
    assert!(!clean("[ebpf programs]\nnetwork viewer = no\n").programs.network_connections);

    let loaded = parsed("[global]\nebpf type format = legacy\nebpf co-re tracing = trampoline\n");
    assert_eq!((loaded.config.strategy, loaded.config.type_format), (None, TypeFormat::Legacy));
    assert_eq!(
        shown(&loaded),
        ["Warning f:3: `ebpf co-re tracing = trampoline` needs BTF, which `ebpf type format = legacy` \
          excludes; the type format wins, each event takes the best hook without BTF"]
    );
}
