//! The generated files in `docs/` are what the tables and options generate.
//!
//! Needs neither root nor the built programs. `BLESS=1` writes the files instead of comparing them; the change is then reviewed like
//! code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use shared::reference::{self, COMMAND, metrics};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn generated_files_are_up_to_date() {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut differences = Vec::new();
    for document in reference::documents().unwrap() {
        let file = repository().join("docs").join(document.name);
        if bless {
            fs::write(&file, &document.text).unwrap();
            continue;
        }
        let found = fs::read_to_string(&file).unwrap_or_else(|error| format!("(cannot be read: {error})\n"));
        if found != document.text {
            differences.push(format!(
                "==== docs/{} is\n{found}==== but the code generates\n{}",
                document.name, document.text
            ));
        }
    }
    assert!(differences.is_empty(), "{}==== `{COMMAND}` writes the files anew", differences.concat());
}

/// The chart of losses has no row in the tables, so the reference repeats what the supervisor's code says.
#[test]
fn the_chart_of_losses_is_described_as_it_is_drawn() {
    let code = fs::read_to_string(repository().join("supervisor/src/chart.rs")).unwrap();
    let mut wanted = vec![
        "ebpf.{}_missed".to_owned(),
        metrics::LOSSES_TITLE.to_owned(),
        metrics::LOSSES_UNIT.to_owned(),
        format!("family: \"{}\"", metrics::LOSSES_FAMILY),
        format!("priority: {}", metrics::LOSSES_PRIORITY),
        "ebpf.{}_canary".to_owned(),
        metrics::CANARY_TITLE.to_owned(),
        metrics::CANARY_UNIT.to_owned(),
        format!("priority: {}", metrics::CANARY_PRIORITY),
    ];
    wanted.extend(metrics::LOSSES.iter().map(|(id, name, _)| format!("(\"{id}\", \"{name}\"")));
    let missing: Vec<String> = wanted.into_iter().filter(|text| !code.contains(text.as_str())).collect();
    assert!(missing.is_empty(), "supervisor/src/chart.rs does not say {missing:?}");
    let dimensions = code.matches("|missed| missed.").count();
    assert_eq!(dimensions, metrics::LOSSES.len(), "the chart has other dimensions than the reference");
}

/// Neither has the chart of what the filters leave out.
#[test]
fn the_chart_of_filtered_traffic_is_described_as_it_is_drawn() {
    let code = fs::read_to_string(repository().join("supervisor/src/viewer/charts.rs")).unwrap();
    for wanted in ["ID", "TITLE", "UNIT", "FAMILY", "PRIORITY"] {
        assert!(code.contains(&format!("metrics::FILTERED_{wanted}")), "FILTERED_{wanted} is not used");
    }
    assert!(code.contains("[(\"outbound\", outbound), (\"inbound\", inbound)]"), "other dimensions");
}

/// Links from one document to another, and commands and files that the documents for people name.
#[test]
fn documents_name_only_files_that_exist() {
    let mut missing = Vec::new();
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "docs/definitions.md",
        "docs/metrics.md",
        "docs/hooks.md",
        "docs/diagnosis.md",
    ];
    for name in documents {
        let document = repository().join(name);
        let text = fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let target = link.split('#').next().unwrap_or(link);
            if !document.parent().unwrap().join(target).exists() {
                missing.push(format!("{name} links to {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
