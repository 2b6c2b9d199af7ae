//! Brings the lines of a file and the list of options together: which line decides each option, and what is
//! said about all other lines.

use std::path::Path;

use super::effective::{EffectiveValue, Origin};
use super::ini::{Document, Entry};
use super::options::{self, Conflict, OPTIONS, Row, SERVICE_NAMES};
use super::remarks::{Remarks, quote};
use super::settings::Config;
use super::suggest::nearest;
use super::value::{Kind, Outcome, switch};

/// A line that names an option.
#[derive(Clone, Copy)]
struct Given<'file> {
    entry: &'file Entry,
    /// True when the name used says the contrary of the option's key.
    opposite: bool,
}

/// Stores the options of `document` in `config`, which must hold the defaults.
///
/// Returns one value for each option with an effect, in the order of [`OPTIONS`].
pub fn resolve(
    file: &Path,
    document: &Document,
    config: &mut Config,
    remarks: &mut Remarks,
) -> Vec<EffectiveValue> {
    let given = assign(file, document, remarks);
    let mut values = Vec::new();
    for (row, given) in OPTIONS.iter().zip(&given) {
        let decided = decide(file, row, given, config, remarks);
        if row.has_effect() {
            values.push(decided);
        }
    }
    values
}

/// The lines of each option, in the order of [`OPTIONS`]; lines without an option get a warning.
fn assign<'file>(file: &Path, document: &'file Document, remarks: &mut Remarks) -> Vec<Vec<Given<'file>>> {
    for (heading, line) in &document.sections {
        if options::section(heading).is_none() {
            remarks.line_warning_by(file, *line, || unknown_section(heading));
        }
    }
    let mut given: Vec<Vec<Given<'_>>> = OPTIONS.iter().map(|_| Vec::new()).collect();
    for entry in &document.entries {
        let Some(section) = options::section(&entry.section).filter(|section| *section != SERVICE_NAMES)
        else {
            continue;
        };
        let found =
            OPTIONS.iter().enumerate().filter(|(_, row)| row.section == section).find_map(|(index, row)| {
                let opposite = row.named(&entry.name)?;
                Some((index, opposite))
            });
        match found {
            Some((index, opposite)) => given[index].push(Given { entry, opposite }),
            None => remarks.line_warning_by(file, entry.line, || unknown_option(section, entry)),
        }
    }
    given
}

fn unknown_section(heading: &str) -> String {
    let hint = did_you_mean(nearest(heading, options::section_names()), '[', ']');
    format!("unknown section [{}]{hint}; its lines are ignored", bare(heading))
}

fn unknown_option(section: &str, entry: &Entry) -> String {
    let name = quote(&entry.name);
    let elsewhere = OPTIONS.iter().find(|row| row.has_effect() && row.named(&entry.name).is_some());
    if let Some(row) = elsewhere {
        return format!("{name} belongs to [{}], not to [{section}]; the line is ignored", row.section);
    }
    let names = OPTIONS.iter().filter(|row| row.section == section).flat_map(Row::names);
    let hint = did_you_mean(nearest(&entry.name, names), '`', '`');
    format!("unknown option {name} in [{section}]{hint}; the line is ignored")
}

fn did_you_mean(name: Option<&str>, open: char, close: char) -> String {
    name.map(|name| format!(", did you mean {open}{name}{close}?")).unwrap_or_default()
}

/// Settles one option: the deciding line, or the default.
fn decide(
    file: &Path,
    row: &Row,
    given: &[Given<'_>],
    config: &mut Config,
    remarks: &mut Remarks,
) -> EffectiveValue {
    let default =
        (!row.default.is_empty() || matches!(row.kind, Kind::Words(_))).then(|| row.default.to_owned());
    let unset = EffectiveValue {
        section: row.section,
        key: row.key.to_owned(),
        value: default,
        origin: Origin::Default,
    };
    let Some(winner) = winner(row, given) else {
        return unset;
    };
    let (name, line) = (&winner.entry.name, winner.entry.line);
    for loser in given.iter().filter(|given| given.entry.line != line) {
        remarks.line_warning(file, loser.entry.line, superseded(loser.entry, winner.entry));
    }
    if let Kind::NoEffect(why) = row.kind {
        remarks.line_info(file, line, format!("{} has no effect here: {why}", quote(name)));
        return unset;
    }
    let text = winner.text();
    let value = match row.kind.store(config, text, Some(line)) {
        Outcome::Stored(value) => value,
        Outcome::Raised(value) => {
            let message = format!("{} is {}, which is too small; {value} is used", quote(name), quote(text));
            remarks.line_warning(file, line, message);
            value
        }
        Outcome::Refused => {
            remarks.line_warning(file, line, refused(row, winner.entry));
            return unset;
        }
    };
    EffectiveValue { value: Some(value), origin: Origin::File { file: file.to_owned(), line }, ..unset }
}

impl<'file> Given<'file> {
    /// The value, as it would stand behind the option's key.
    fn text(&self) -> &'file str {
        match (self.opposite, switch(&self.entry.value)) {
            (true, Some(true)) => "no",
            (true, Some(false)) => "yes",
            _ => &self.entry.value,
        }
    }
}

fn winner<'file>(row: &Row, given: &[Given<'file>]) -> Option<Given<'file>> {
    let last = given.last()?;
    let preferred = given.iter().rfind(|given| match row.conflict {
        Conflict::LaterLine => true,
        Conflict::AliasWins => given.entry.name != row.key,
        // The only option of this kind is `disable apps`, which switches off by `yes`.
        Conflict::OffWins => switch(given.text()) == Some(true),
    });
    Some(*preferred.unwrap_or(last))
}

fn superseded(loser: &Entry, winner: &Entry) -> String {
    let (name, line) = (quote(&loser.name), winner.line);
    if loser.name == winner.name {
        return format!("{name} is set again in line {line}, which wins; this line is ignored");
    }
    let other = quote(&winner.name);
    format!("{other} in line {line} decides the same as {name} and wins; this line is ignored")
}

fn refused(row: &Row, entry: &Entry) -> String {
    let name = quote(&entry.name);
    let is = if entry.value.is_empty() { "nothing".to_owned() } else { quote(&entry.value) };
    let default = match (row.default, entry.name == row.key) {
        ("", _) => "the option stays unset".to_owned(),
        (default, true) => format!("the default `{default}` is used"),
        (default, false) => format!("the default `{} = {default}` is used", row.key),
    };
    format!("{name} must be {}, not {is}; {default}", row.kind.accepts())
}

/// Foreign text without the quotation marks of [`quote`].
fn bare(text: &str) -> String {
    let quoted = quote(text);
    quoted[1..quoted.len() - 1].to_owned()
}
