//! The log: lines on standard error in Netdata's format, which the agent passes on to its error.log unchanged.
//!
//! `YYYY-MM-DD HH:MM:SS: ebpf.plugin LEVEL : THREAD : message` (reference: netdata v1.26.0 libnetdata/log/log.c).

use std::fmt::Display;
use std::io::Write;

use chrono::Local;
use shared::diagnostic::{Diagnostic, Level};
use shared::wire::LogLevel;

/// Reads the file of the time zone, which the environment may name; later lines of this thread need it no more.
pub fn learn_time_zone() {
    Local::now();
}

/// One line. `origin` is the thread in Netdata's words: `MAIN`, or the module that speaks.
pub fn line(level: LogLevel, origin: &str, message: impl Display) {
    let level = match level {
        LogLevel::Error => "ERROR",
        LogLevel::Warning => "WARN ",
        LogLevel::Info => "INFO ",
    };
    let now = Local::now().format("%Y-%m-%d %H:%M:%S");
    // One line is one event: whatever a message quotes cannot start another.
    let message = message.to_string().replace(|c: char| c.is_control(), " ");
    // Nothing can be done about a log that cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "{now}: ebpf.plugin {level} : {origin} : {message}");
}

/// Life cycle.
pub fn info(message: impl Display) {
    line(LogLevel::Info, "MAIN", message);
}

/// Less data than asked for.
pub fn warning(message: impl Display) {
    line(LogLevel::Warning, "MAIN", message);
}

/// Data is missing, and somebody must act.
pub fn error(message: impl Display) {
    line(LogLevel::Error, "MAIN", message);
}

/// Remarks about a file that a person wrote.
pub fn diagnostics(remarks: &[Diagnostic]) {
    for remark in remarks {
        match remark.level {
            Level::Info => info(remark),
            Level::Warning => warning(remark),
            Level::Error => error(remark),
        }
    }
}
