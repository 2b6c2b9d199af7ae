//! Breaks boot loops: a host that died while programs were being attached for the first time after a boot starts without them the next time.
//!
//! A kernel fault by an attached program may end the machine before anybody can switch the plugin off, boot after boot. So a mark on disk says
//! that an attachment is under way, and is cleared a minute later or at an orderly end. Who finds a mark of another boot starts nothing until
//! some time has passed (an hour, then two, four, … up to 64) or kernel or plugin have changed; it ends then, and the agent starts it again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shared::file;

use crate::log;

/// Name of the file in the agent's library directory, or else its cache directory.
const FILE: &str = "ebpf.plugin.first-attach";

/// The agent's library directory where nobody names one.
const LIBRARY: &str = "/var/lib/netdata";

/// After this time a host that lives has survived the attachment.
const PROBATION: Duration = Duration::from_secs(60);

/// Longest mark that is read, bytes.
const LONGEST: u64 = 4096;

/// First time without programs, s; doubled with each further loss.
const FIRST_REST_S: u64 = 3600;

/// What identifies this start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Now {
    boot: String,
    /// Kernel's release and version, and the plugin's.
    versions: String,
    time_s: u64,
}

impl Now {
    fn here() -> Self {
        Now { boot: boot(), versions: versions(), time_s: time_s() }
    }
}

/// What a file says: one line `STATE STRIKES TIME_S BOOT VERSIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    state: State,
    /// Boots that ended in an attachment, one after the other.
    strikes: u32,
    now: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// An attachment is under way.
    Attaching,
    /// Nothing is attached, because of what happened before.
    Resting,
    /// All is well.
    Clean,
}

impl Mark {
    fn parse(text: &str) -> Option<Mark> {
        let mut words = text.lines().next()?.splitn(5, ' ');
        let state = match words.next()? {
            "attaching" => State::Attaching,
            "resting" => State::Resting,
            "clean" => State::Clean,
            _ => return None,
        };
        let (strikes, time_s) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (boot, versions) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Mark { state, strikes, now: Now { boot, versions, time_s } })
    }

    fn text(&self) -> String {
        let state = match self.state {
            State::Attaching => "attaching",
            State::Resting => "resting",
            State::Clean => "clean",
        };
        format!("{state} {} {} {} {}\n", self.strikes, self.now.time_s, self.now.boot, self.now.versions)
    }
}

/// The mark to write before anything is attached, given the one that was found. `Resting` means: attach nothing.
fn decide(found: Option<&Mark>, now: &Now) -> Mark {
    let fresh = Mark { state: State::Attaching, strikes: 0, now: now.clone() };
    let Some(found) = found.filter(|found| found.now.versions == now.versions) else { return fresh };
    match found.state {
        // The plugin was killed, the host lives.
        State::Attaching if found.now.boot == now.boot => Mark { strikes: found.strikes, ..fresh },
        State::Attaching => Mark { state: State::Resting, strikes: found.strikes.saturating_add(1), ..fresh },
        State::Resting if now.time_s.saturating_sub(found.now.time_s) < rest_s(found.strikes) => {
            found.clone()
        }
        State::Resting => Mark { strikes: found.strikes, ..fresh },
        State::Clean => fresh,
    }
}

impl Mark {
    /// How long nothing is attached from `now` on; `None` where something is.
    fn rest_left(&self, now: &Now) -> Option<Duration> {
        let rested_s = now.time_s.saturating_sub(self.now.time_s);
        (self.state == State::Resting)
            .then(|| Duration::from_secs(rest_s(self.strikes).saturating_sub(rested_s)))
    }
}

/// How long nothing is attached after so many losses in a row.
fn rest_s(strikes: u32) -> u64 {
    FIRST_REST_S << strikes.saturating_sub(1).min(6)
}

/// The mark on disk, open for writing.
#[derive(Debug)]
pub struct Breaker {
    file: File,
    mark: Mark,
    started: Instant,
}

/// Whether programs may be attached.
#[derive(Debug)]
pub enum Verdict {
    /// Yes; the mark is cleared through what is returned. None where the agent names no directory that can be written.
    Attach(Option<Breaker>),
    /// No.
    Rest {
        /// Why, and until when.
        why: String,
        /// For so long.
        left: Duration,
    },
}

/// Looks for a mark of another boot, and makes one of this. To be called before anything is attached, and with the rights of the user who started
/// this: a service's bounding set may leave root without CAP_DAC_OVERRIDE, as that of Debian's netdata.service does, and then only the agent's user can
/// write to the agent's directories.
pub fn arm() -> Verdict {
    let Some(path) = path() else { return Verdict::Attach(None) };
    let now = Now::here();
    let breaker = match mark(&path, &now) {
        Ok(breaker) => breaker,
        Err(error) => {
            log::info(format!("no mark of the first attachment can be kept in {}: {error}", path.display()));
            return Verdict::Attach(None);
        }
    };
    match breaker.mark.rest_left(&now) {
        Some(left) => Verdict::Rest { why: resting(&breaker.mark, left, &path), left },
        None => Verdict::Attach(Some(breaker)),
    }
}

/// Why the agent's plugin attaches nothing now, if that is so. Changes nothing.
pub fn rest() -> Option<String> {
    let path = path().unwrap_or_else(|| Path::new(LIBRARY).join(FILE));
    let (found, now) = (file::read_text(&path, LONGEST).ok()?, Now::here());
    let mark = decide(Mark::parse(&found).as_ref(), &now);
    mark.rest_left(&now).map(|left| resting(&mark, left, &path))
}

/// The mark's place, if the agent names one.
fn path() -> Option<PathBuf> {
    let directory = ["NETDATA_LIB_DIR", "NETDATA_CACHE_DIR"].into_iter().find_map(std::env::var_os);
    directory.map(|directory| PathBuf::from(directory).join(FILE))
}

/// Why nothing is attached.
fn resting(mark: &Mark, left: Duration, path: &Path) -> String {
    format!(
        "the host went down within {} s after programs had been attached ({} times in a row); nothing is attached for {} min, or until kernel or \
         plugin change, or {} is removed",
        PROBATION.as_secs(),
        mark.strikes,
        left.as_secs().div_ceil(60),
        path.display()
    )
}

/// Writes the mark of this start over the one that is found.
fn mark(path: &Path, now: &Now) -> io::Result<Breaker> {
    let file = create(path)?;
    let mut text = String::new();
    // What is no text is no mark.
    let _ = (&file).take(LONGEST).read_to_string(&mut text);
    let mark = decide(Mark::parse(&text).as_ref(), now);
    sync_directory(path)?;
    let breaker = Breaker { file, mark, started: Instant::now() };
    breaker.write()?;
    Ok(breaker)
}

/// Kept in place, since it must be changed later without the right to create files.
fn create(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    // The directory is the agent's: what it made of the name must not be followed by a privileged program.
    let file = options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(io::Error::other("it is no file of its own"));
    }
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

impl Breaker {
    /// Clears the mark when its time has come, or at the end (`ends`).
    pub fn tend(&mut self, ends: bool) {
        if self.mark.state == State::Attaching && (ends || self.started.elapsed() >= PROBATION) {
            self.mark = Mark { state: State::Clean, strikes: 0, now: self.mark.now.clone() };
            if let Err(error) = self.write() {
                log::warning(format!("the mark of the first attachment cannot be cleared: {error}"));
            }
        }
    }

    /// One block, written over the one before; a torn one is not understood, and means nothing.
    fn write(&self) -> io::Result<()> {
        let text = self.mark.text();
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_all()
    }
}

fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("-").to_owned()
}

fn versions() -> String {
    let version = crate::facts::version_text("").replace(|c: char| c.is_control(), " ");
    format!("{} {version}", env!("CARGO_PKG_VERSION"))
}

fn time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(boot: &str, versions: &str, time_s: u64) -> Now {
        Now { boot: boot.to_owned(), versions: versions.to_owned(), time_s }
    }

    fn state(found: &Mark, now: &Now) -> (State, u32) {
        let mark = decide(Some(found), now);
        (mark.state, mark.strikes)
    }

    #[test]
    fn a_boot_that_ended_in_an_attachment_is_followed_by_a_rest() {
        let first = decide(None, &now("a", "1 x", 1000));
        assert_eq!((first.state, first.strikes), (State::Attaching, 0));
        assert_eq!(
            state(&first, &now("a", "1 x", 1010)),
            (State::Attaching, 0),
            "only the plugin was killed"
        );
        let rest = decide(Some(&first), &now("b", "1 x", 1100));
        assert_eq!((rest.state, rest.strikes), (State::Resting, 1));
        assert_eq!(state(&rest, &now("c", "1 x", 1200)), (State::Resting, 1));
        assert_eq!(state(&rest, &now("c", "2 x", 1200)), (State::Attaching, 0), "another version");
        let again = decide(Some(&rest), &now("c", "1 x", 1100 + FIRST_REST_S));
        assert_eq!((again.state, again.strikes), (State::Attaching, 1));
        assert_eq!(state(&again, &now("d", "1 x", 90_000)), (State::Resting, 2));
        assert_eq!(rest_s(2), 2 * FIRST_REST_S);
        let clean = Mark { state: State::Clean, ..first };
        assert_eq!(state(&clean, &now("b", "1 x", 1100)), (State::Attaching, 0));
    }

    #[test]
    fn a_mark_comes_back_as_it_was_and_rubbish_is_none() {
        let mark = decide(None, &now("a-b", "1 Linux version 6 (x) #1", 7));
        assert_eq!(Mark::parse(&mark.text()), Some(mark));
        for text in [
            "",
            "\n",
            "attaching",
            "attaching 1 2 3",
            "x 1 2 3 4",
            "clean -1 2 3 4",
            "clean 1 99999999999999999999 3 4",
        ] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }
}
