//! The words of CHART and DIMENSION lines, without any default left to the agent.

use crate::model::{ChartLine, Dimension};

/// How Netdata shows a chart.
const CHART_TYPES: [&str; 3] = ["line", "area", "stacked"];
const ALGORITHMS: [&str; 4] =
    ["absolute", "incremental", "percentage-of-absolute-row", "percentage-of-incremental-row"];
const CHART_OPTIONS: [&str; 4] = ["obsolete", "detail", "store_first", "hidden"];
const DIMENSION_OPTIONS: [&str; 4] = ["obsolete", "hidden", "noreset", "nooverflow"];

/// Reads the words behind CHART.
pub fn chart_line(fields: &[&str]) -> Result<ChartLine, String> {
    let [
        id,
        name,
        title,
        units,
        family,
        context,
        chart_type,
        priority,
        update_every,
        options,
        plugin,
        module,
    ] = fields
    else {
        return Err(format!("CHART needs all 12 fields, has {}", fields.len()));
    };
    let (kind, rest) = id.split_once('.').ok_or("chart id without a dot")?;
    for part in [kind, rest, *context, *plugin, *module] {
        clean(part)?;
    }
    if !name.is_empty() {
        clean(name)?;
    }
    for (field, text) in [("title", title), ("units", units), ("family", family)] {
        if text.trim().is_empty() {
            return Err(format!("empty {field}"));
        }
    }
    one_of(chart_type, &CHART_TYPES)?;
    for option in options.split_whitespace() {
        one_of(option, &CHART_OPTIONS)?;
    }
    Ok(ChartLine {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        title: (*title).to_owned(),
        units: (*units).to_owned(),
        family: (*family).to_owned(),
        context: (*context).to_owned(),
        chart_type: (*chart_type).to_owned(),
        priority: positive(priority, "priority")?,
        update_every: positive(update_every, "update_every")?,
        options: (*options).to_owned(),
        plugin: (*plugin).to_owned(),
        module: (*module).to_owned(),
    })
}

/// Reads the words behind DIMENSION.
pub fn dimension_line(fields: &[&str]) -> Result<Dimension, String> {
    let (five, options) = match fields {
        [five @ .., options] if fields.len() == 6 => (five, *options),
        five => (five, ""),
    };
    let [id, name, algorithm, multiplier, divisor] = five else {
        return Err(format!("DIMENSION needs 5 or 6 fields, has {}", fields.len()));
    };
    if id.is_empty() || id.contains([' ', '\t', '=', '\'', '"', ',']) {
        return Err(format!("unclean dimension id `{id}`"));
    }
    one_of(algorithm, &ALGORITHMS)?;
    for option in options.split_whitespace() {
        one_of(option, &DIMENSION_OPTIONS)?;
    }
    let multiplier = number(multiplier, "multiplier")?;
    let divisor = positive(divisor, "divisor")?;
    if multiplier == 0 {
        return Err("multiplier 0 would become 1".to_owned());
    }
    Ok(Dimension {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        algorithm: (*algorithm).to_owned(),
        multiplier,
        divisor,
        obsolete: options.split_whitespace().any(|option| option == "obsolete"),
    })
}

/// Characters that Netdata leaves alone in ids.
fn clean(word: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if word.is_empty() || !word.chars().all(allowed) {
        return Err(format!("`{word}` is empty or has characters that Netdata replaces"));
    }
    Ok(())
}

fn one_of(word: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&word) { Ok(()) } else { Err(format!("`{word}` is none of {known:?}")) }
}

/// Reads a number; `what` names it in the error. Decimal only: Netdata would take a leading 0 for octal.
pub fn number(word: &str, what: &str) -> Result<i64, String> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let canonical = digits == "0" || !digits.starts_with('0');
    match word.parse() {
        Ok(value) if canonical && !word.starts_with('+') && word != "-0" => Ok(value),
        _ => Err(format!("{what} `{word}` is no plain decimal number of 64 bits")),
    }
}

fn positive(word: &str, what: &str) -> Result<i64, String> {
    let value = number(word, what)?;
    if value > 0 { Ok(value) } else { Err(format!("{what} {value} is not above 0")) }
}
