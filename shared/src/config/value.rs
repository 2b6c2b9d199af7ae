//! The kinds of option values: which texts each accepts and where it stores them.

use std::path::{Path, PathBuf};

use super::settings::{Config, Word};

/// A kind of value together with the field of [`Config`] that takes it.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`; with `opposite`, the field holds the contrary of what the option says.
    Switch {
        /// The field.
        slot: fn(&mut Config) -> &mut bool,
        /// True for options like `disable apps`.
        opposite: bool,
    },
    /// A number within bounds, both included.
    Number {
        /// The field.
        slot: fn(&mut Config) -> &mut u32,
        /// Smallest useful number.
        least: u32,
        /// Largest number.
        most: u32,
        /// True when smaller numbers down to 0 become `least` instead of the default.
        raise: bool,
    },
    /// A number within bounds, or nothing.
    OptionalNumber {
        /// The field.
        slot: fn(&mut Config) -> &mut Option<u32>,
        /// Smallest number.
        least: u32,
        /// Largest number.
        most: u32,
    },
    /// One of a few words, in any letter case.
    Choice {
        /// The words.
        names: &'static [&'static str],
        /// Stores the word with this index.
        set: fn(&mut Config, usize),
    },
    /// An absolute path.
    AbsolutePath(fn(&mut Config) -> &mut PathBuf),
    /// Words between blanks; may be empty.
    Words(fn(&mut Config) -> &mut Vec<Word>),
    /// An option of other Netdata versions, with the reason why it has no effect here.
    NoEffect(&'static str),
}

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored; the text in its normal form.
    Stored(String),
    /// Too small and replaced by the least number, which is the text here.
    Raised(String),
    /// Not acceptable; nothing was changed.
    Refused,
}

impl Kind {
    /// Reads `text` and stores it in `config`. `line`: where it stands, `None` for a default.
    pub fn store(&self, config: &mut Config, text: &str, line: Option<usize>) -> Outcome {
        match *self {
            Self::Switch { slot, opposite } => store_switch(slot(config), opposite, text),
            Self::Number { slot, least, most, raise } => store_number(slot(config), least, most, raise, text),
            Self::OptionalNumber { slot, least, most } => {
                let mut number = 0;
                let outcome = store_number(&mut number, least, most, false, text);
                if outcome != Outcome::Refused {
                    *slot(config) = Some(number);
                }
                outcome
            }
            Self::Choice { names, set } => {
                let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) else {
                    return Outcome::Refused;
                };
                set(config, index);
                Outcome::Stored(names[index].to_owned())
            }
            Self::AbsolutePath(slot) => {
                if !Path::new(text).is_absolute() {
                    return Outcome::Refused;
                }
                *slot(config) = PathBuf::from(text);
                Outcome::Stored(text.to_owned())
            }
            Self::Words(slot) => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                *slot(config) = words.iter().map(|word| Word { text: (*word).to_owned(), line }).collect();
                Outcome::Stored(words.join(" "))
            }
            Self::NoEffect(_) => Outcome::Stored(text.to_owned()),
        }
    }

    /// What a text must be, to follow "must be".
    pub fn accepts(&self) -> String {
        match self {
            Self::Switch { .. } => "yes or no".to_owned(),
            Self::Number { least, most, .. } | Self::OptionalNumber { least, most, .. } => {
                format!("a number from {least} to {most} without leading zeros")
            }
            Self::Choice { names, .. } => names.join(" or "),
            Self::AbsolutePath(_) => "an absolute path".to_owned(),
            Self::Words(_) => "a list of words".to_owned(),
            Self::NoEffect(_) => "anything".to_owned(),
        }
    }
}

/// Netdata's words for true, their contraries, and the digits that later versions take; `None` for all else.
pub fn switch(text: &str) -> Option<bool> {
    let is_one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(text));
    if is_one_of(&["yes", "true", "on", "auto", "on demand", "1"]) {
        return Some(true);
    }
    is_one_of(&["no", "false", "off", "never", "0"]).then_some(false)
}

/// A decimal or `0x` number. A leading zero is refused: Netdata reads it as octal, most people as decimal.
pub fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u64::from_str_radix(digits, 16).ok())?;
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok())?
}

fn store_switch(slot: &mut bool, opposite: bool, text: &str) -> Outcome {
    let Some(on) = switch(text) else {
        return Outcome::Refused;
    };
    *slot = on != opposite;
    Outcome::Stored(if on { "yes" } else { "no" }.to_owned())
}

fn store_number(slot: &mut u32, least: u32, most: u32, raise: bool, text: &str) -> Outcome {
    let Some(number) = number(text).and_then(|number| u32::try_from(number).ok()) else {
        return Outcome::Refused;
    };
    if number > most || (number < least && !raise) {
        return Outcome::Refused;
    }
    *slot = number.max(least);
    if number < least {
        return Outcome::Raised(least.to_string());
    }
    Outcome::Stored(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches() {
        for text in ["yes", "TRUE", "On", "auto", "on demand", "1"] {
            assert_eq!(switch(text), Some(true), "{text}");
        }
        for text in ["no", "False", "OFF", "never", "0"] {
            assert_eq!(switch(text), Some(false), "{text}");
        }
        for text in ["", "y", "yess", "2", "ondemand", "yes # really"] {
            assert_eq!(switch(text), None, "{text}");
        }
    }

    #[test]
    fn numbers() {
        for (text, value) in [("0", 0), ("500", 500), ("0x1F4", 500), ("18446744073709551615", u64::MAX)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in
            ["", "0x", "0500", "-1", "+1", "5 0", "1k", "10s", "1.5", "18446744073709551616", "٣", "0x+1"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
