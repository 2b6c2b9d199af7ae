//! A number that is not what it must be.

use std::fmt;

/// What a group's chart shows instead of what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Group of processes.
    pub group: String,
    /// Counter, or several that are drawn as one.
    pub counter: String,
    /// Where it is shown.
    pub chart: &'static str,
    /// Least that it must be.
    pub least: i64,
    /// Most that it may be.
    pub most: i64,
    /// What it is.
    pub shown: i64,
}

impl Difference {
    /// The difference, if `shown` is not from `least` to `most`.
    pub fn of(
        group: &str,
        counter: &str,
        chart: &'static str,
        (least, most): (i64, i64),
        shown: i64,
    ) -> Option<Self> {
        let (group, counter) = (group.to_owned(), counter.to_owned());
        (!(least..=most).contains(&shown)).then_some(Difference { group, counter, chart, least, most, shown })
    }

    /// How much less is shown than there must be; below zero: it is not less.
    pub fn missing(&self) -> i64 {
        self.least - self.shown
    }

    /// Whether bytes are counted, not calls.
    pub fn is_of_bytes(&self) -> bool {
        self.counter.contains("bytes")
    }

    /// Whether what a call returned is counted, not the call.
    pub fn is_of_results(&self) -> bool {
        self.is_of_bytes() || self.counter.contains("error")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { group, counter, chart, least, most, shown } = self;
        let wanted = match *most {
            i64::MAX => format!("at least {least}"),
            most if most == *least => least.to_string(),
            _ => format!("{least} to {most}"),
        };
        write!(f, "{group}: {counter} must be {wanted}, {chart} shows {shown}")
    }
}

/// One sentence for each.
pub fn texts(differences: Vec<Difference>) -> impl Iterator<Item = String> {
    differences.into_iter().map(|difference| difference.to_string())
}
