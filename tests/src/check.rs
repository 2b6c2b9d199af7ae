//! What `--check` says against what the plugin then does, per chart, on one kernel in many set-ups; and forecasts against the truth.

pub mod document;
pub mod forecast;
pub mod run;
pub mod setup;
