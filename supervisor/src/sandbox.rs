//! What the supervisor gives up once the launcher runs: it reads hostile text, and needs no privilege for that.

use launcher::confine;

use crate::log;

/// Gives up everything that the rest of this program does not need; says in the log what that is, and what this kernel does not offer.
///
/// To be called before any thread is started, and after everything is open that only a privileged program may open.
pub fn enter() {
    let mut done = Vec::new();
    match confine::drop_privileges() {
        Ok(had) if had.is_empty() => done.push("it had no capabilities".to_owned()),
        Ok(had) => {
            let names: Vec<String> = had.iter().map(ToString::to_string).collect();
            let names = if names.len() > 20 { "all capabilities".to_owned() } else { names.join(", ") };
            done.push(format!("{names} and new privileges given up"));
        }
        Err(error) => log::warning(format!("the supervisor keeps privileges: {error:#}")),
    }
    match confine::forbid_writing() {
        Ok(how) => done.push(format!("no file can be written or executed (Landlock: {how})")),
        Err(error) => log::warning(format!("the supervisor may write files: {error:#}")),
    }
    match confine::supervisor() {
        Ok(()) => done.push("system calls are filtered (seccomp)".to_owned()),
        Err(error) => log::warning(format!("the supervisor may make every system call: {error:#}")),
    }
    log::info(format!("the supervisor is confined: {}", done.join("; ")));
}
