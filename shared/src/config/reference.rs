//! The reference of all options as Markdown, made from the list of options.

use super::options::{OPTIONS, Row};

/// One table with a row for each option that has an effect, then one line that names the others.
pub fn markdown() -> String {
    let mut text = String::from(
        "| section | option | default | values | other name | meaning |\n|---|---|---|---|---|---|\n",
    );
    OPTIONS.iter().filter(|row| row.has_effect()).for_each(|row| text.push_str(&line(row)));
    text.push_str(
        "| `[service name]` | a port | - | the name to show | - | Names a port, beside `/etc/services`. |\n",
    );
    let ignored = OPTIONS.iter().filter(|row| !row.has_effect());
    let ignored: Vec<String> =
        ignored.map(|row| format!("`[{}] {}` ({})", row.section, row.key, row.doc)).collect();
    text.push_str(&format!("\nKnown from other Netdata versions, without effect: {}.\n", ignored.join(", ")));
    text
}

fn line(row: &Row) -> String {
    let default = if row.default.is_empty() { "unset".to_owned() } else { format!("`{}`", row.default) };
    let alias = match row.alias {
        None => "-".to_owned(),
        Some(alias) => format!("`{}`{}", alias.name, if alias.opposite { " (the contrary)" } else { "" }),
    };
    let (section, key, values, doc) = (row.section, row.key, row.kind.accepts(), row.doc);
    format!("| `[{section}]` | `{key}` | {default} | {values} | {alias} | {doc} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_line_with_six_columns_for_each_option() {
        let text = markdown();
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(table.len(), 3 + OPTIONS.iter().filter(|row| row.has_effect()).count());
        assert!(table.iter().all(|line| line.matches('|').count() == 7), "{text}");
        assert!(
            text.contains("| `[network viewer]` | `maximum dimensions` | `500` | a number from 2 to 100000")
        );
    }
}
