//! What a host offers, and what follows from it: facts first, then rules. Pure; the supervisor gathers the facts.
//!
//! A fact is known, known to be missing, or could not be found out, with the reason. Rules never guess: what could not be found out is
//! said to be so, and the trial with the real workers (`supervisor --check`) has the last word.

mod classify;
mod config;
mod facts;
mod kernel;
mod locks;
mod rights;
mod surroundings;

pub use classify::{Call, Explanation, ROWS, classify, errno_of, explain_text};
pub use facts::{
    Capabilities, Cpus, FACTS_VERSION, Fact, HostFacts, Limit, Mount, PluginFile, Selinux, lockdown_in_force,
    parse_config, parse_mounts,
};
pub use kernel::{REJECTED_KERNELS, rejected_by};
pub use rights::may_load;

use serde::Serialize;

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It could not be found out; the evidence says why.
    Unknown,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be, or of no consequence.
    Good,
    /// Another way is used, or it may matter: worth knowing.
    Note,
    /// Data is missing.
    Less,
    /// Nothing works like this.
    Bad,
}

/// One conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name that does not change, such as `config.KPROBES`.
    pub id: String,
    /// What it is about, for people.
    pub subject: String,
    /// Whether it is as it should be.
    pub state: State,
    /// How much that matters here.
    pub grade: Grade,
    /// What was seen.
    pub evidence: String,
    /// Why that matters; empty where it does not.
    pub cause: String,
    /// What to do, as exactly as possible; empty when there is nothing to do.
    pub fix: String,
    /// What is lost without it; empty when nothing is.
    pub lost: String,
}

impl Finding {
    /// All is well.
    pub fn good(id: &str, subject: &str, evidence: impl Into<String>) -> Self {
        Finding {
            id: id.to_owned(),
            subject: subject.to_owned(),
            state: State::Yes,
            grade: Grade::Good,
            evidence: evidence.into(),
            cause: String::new(),
            fix: String::new(),
            lost: String::new(),
        }
    }

    /// Something is not as it should be.
    pub fn no(grade: Grade, id: &str, subject: &str, evidence: impl Into<String>) -> Self {
        Finding { state: State::No, grade, ..Finding::good(id, subject, evidence) }
    }

    /// It could not be found out; `why` is the evidence.
    pub fn unknown(id: &str, subject: &str, why: &str) -> Self {
        Finding { state: State::Unknown, grade: Grade::Note, ..Finding::good(id, subject, why) }
    }

    /// With why it matters.
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// With what to do.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// With what is lost.
    pub fn loses(mut self, lost: impl Into<String>) -> Self {
        self.lost = lost.into();
        self
    }
}

/// What the facts say: all of it, in the order in which a person would mend things.
///
/// `rejected`: the line of the list of bad kernels that matches this one.
pub fn findings(facts: &HostFacts, rejected: Option<&str>) -> Vec<Finding> {
    let mut all = kernel::findings(facts, rejected);
    all.extend(rights::findings(facts));
    all.extend(locks::findings(facts));
    all.extend(config::findings(facts));
    all.extend(surroundings::findings(facts));
    all
}

/// The findings for which no worker could ever do anything here: those about the kernel's name and about rights.
pub fn hopeless(findings: &[Finding]) -> Option<&Finding> {
    let fatal = ["kernel.rejected", "rights.capabilities"];
    findings.iter().find(|finding| finding.grade == Grade::Bad && fatal.contains(&finding.id.as_str()))
}

#[cfg(test)]
mod tests;
