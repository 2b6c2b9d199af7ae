//! Runs the two processes of `load/netload.c`, each under a name of its own, so in a group of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};

use super::done::{Done, parse};
use super::namespace::command;

/// The load as `build.rs` made it; carried along, because a guest has no build directory.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netload"));

/// Ports that one word may use, as in `netload.c`.
pub const PORTS_OF_A_WORD: u16 = 10;

/// Where the two run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The server's address.
    pub ipv4: String,
    /// The server's address.
    pub ipv6: String,
    /// Network namespaces of the server and of the client, as `ip netns` names them; `None` for the test's own.
    pub namespaces: Option<(String, String)>,
    /// First port; the word at place i uses 10 ports from `port` + 10 i on.
    pub port: u16,
}

impl Place {
    /// The loopback device, ports from `port` on.
    pub fn loopback(port: u16) -> Place {
        Place { ipv4: "127.0.0.1".to_owned(), ipv6: "::1".to_owned(), namespaces: None, port }
    }
}

/// What the two did.
#[derive(Clone, Debug)]
pub struct Both {
    /// The server's part.
    pub server: Done,
    /// The client's part.
    pub client: Done,
}

impl Both {
    /// Added up: what the whole system must show.
    pub fn sum(&self) -> Done {
        let mut sum = self.server.clone();
        sum += &self.client;
        sum
    }
}

/// The two while they run.
pub struct Pair {
    server: Role,
    client: Role,
}

struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    words: String,
}

/// Names, hence groups, of a pair's processes: `NAME_server` and `NAME_client`.
pub fn names(name: &str) -> [String; 2] {
    ["server", "client"].map(|role| format!("{name}_{role}"))
}

/// Lines of `apps_groups.conf` for the pairs `names`, each process in a group of its own name.
pub fn groups(pairs: &[&str]) -> String {
    pairs.iter().flat_map(|name| names(name)).map(|name| format!("{name}: {name}\n")).collect()
}

impl Pair {
    /// Starts server and client as `name`_server and `name`_client, with files in `directory`.
    pub fn start(directory: &Path, name: &str, place: &Place, words: &str) -> Result<Pair> {
        let control = directory.join(format!("{name}.control"));
        let [server, client] = names(name);
        let namespaces = place.namespaces.clone().map_or((None, None), |(s, c)| (Some(s), Some(c)));
        Ok(Pair {
            server: Role::start(
                &install(directory, &server)?,
                "server",
                &control,
                namespaces.0.as_deref(),
                place,
                words,
            )?,
            client: Role::start(
                &install(directory, &client)?,
                "client",
                &control,
                namespaces.1.as_deref(),
                place,
                words,
            )?,
        })
    }

    /// Runs all of `words`. Returns what was done.
    pub fn run(directory: &Path, name: &str, place: &Place, words: &str) -> Result<Both> {
        Pair::start(directory, name, place, words)?.finish()
    }

    /// Waits until both stand at `pause`.
    pub fn wait_paused(&mut self) -> Result<()> {
        for role in [&mut self.server, &mut self.client] {
            let mut line = String::new();
            role.stdout.read_line(&mut line).context("cannot read the load's output")?;
            ensure!(line == "paused\n", "`{}` does not pause: `{line}`", role.words);
        }
        Ok(())
    }

    /// Lets both go on from `pause`.
    pub fn go(&mut self) -> Result<()> {
        for role in [&mut self.server, &mut self.client] {
            let stdin = role.stdin.as_mut().context("the load has no stdin")?;
            stdin.write_all(b"x").context("cannot tell the load to go on")?;
        }
        Ok(())
    }

    /// Waits for the end of both. Fails when one of them did not do what its words say.
    pub fn finish(self) -> Result<Both> {
        // The client first: when it fails, the server waits for it in vain.
        let client = self.client.finish()?;
        Ok(Both { client, server: self.server.finish()? })
    }
}

impl Role {
    fn start(
        program: &Path,
        role: &str,
        control: &Path,
        namespace: Option<&str>,
        place: &Place,
        words: &str,
    ) -> Result<Role> {
        let mut child = command(namespace, program)
            .arg(role)
            .arg(control)
            .args([&place.ipv4, &place.ipv6, &place.port.to_string()])
            .args(words.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Role { stdin: child.stdin.take(), child, stdout, words: words.to_owned() })
    }

    fn finish(mut self) -> Result<Done> {
        let mut report = String::new();
        // It ends by itself, whatever hangs: alarm in netload.c.
        self.stdout.read_to_string(&mut report).context("cannot read the load's report")?;
        let status = self.child.wait().context("cannot wait for the load")?;
        ensure!(status.success(), "the load `{}` ended with {status}", self.words);
        parse(&report)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Our own child, not reaped yet, so the id is still its own.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn install(directory: &Path, name: &str) -> Result<PathBuf> {
    ensure!(name.len() <= crate::load::NAME_BYTES_MAX, "`{name}` is longer than a comm");
    let program = directory.join(name);
    if !program.exists() {
        fs::write(&program, PROGRAM).with_context(|| format!("cannot write {}", program.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(program)
}
