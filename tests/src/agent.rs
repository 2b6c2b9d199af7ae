//! A private real Netdata agent: own directories, loopback only, no collector but ours.
//!
//! Configuration as measured in `reference/agent.md` for Debian 12's `netdata-core`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::http::http_get;
use crate::plugin::write_file;
use crate::system::{children, process, program_directory, wait_until};

const PROGRAM: &str = "/usr/sbin/netdata";
/// File name, hence comm, of our plugin.
const PLUGIN: &str = "ebpf.plugin";
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Collectors of its own would add charts, load and log lines.
const OTHER_PLUGINS: [&str; 12] = [
    "timex",
    "tc",
    "idlejitter",
    "checks",
    "diskspace",
    "proc",
    "cgroups",
    "statsd",
    "netdata monitoring",
    "netdata monitoring extended",
    "slabinfo",
    "enable running new plugins",
];

/// A request costs the agent more than a look at a variable.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A running agent.
pub struct Agent {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

/// Values of a chart, second by second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// Names of the dimensions, without `time`.
    pub labels: Vec<String>,
    /// Unix second and one value per label; gaps are `None`.
    pub rows: Vec<(i64, Vec<Option<f64>>)>,
}

impl Data {
    /// Sum of all seconds of one dimension, by its name. `None` without such a dimension.
    pub fn sum(&self, label: &str) -> Option<f64> {
        let column = self.labels.iter().position(|known| known == label)?;
        Some(self.rows.iter().filter_map(|(_, values)| values.get(column).copied().flatten()).sum())
    }
}

impl Agent {
    /// Starts an agent whose plugin directory holds only `ebpf.plugin`, a link to the built supervisor.
    ///
    /// `enabled`: `[plugins] ebpf`. The two texts become files of its configuration directory.
    pub fn start(enabled: bool, ebpf_conf: &str, apps_groups: &str) -> Result<Agent> {
        Agent::start_with(&program_directory()?.join("supervisor"), enabled, ebpf_conf, apps_groups)
    }

    /// [`Agent::start`] with another program as `ebpf.plugin`.
    pub fn start_with(plugin: &Path, enabled: bool, ebpf_conf: &str, apps_groups: &str) -> Result<Agent> {
        ensure!(Path::new(PROGRAM).exists(), "no {PROGRAM}; install the package netdata-core");
        let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
        let root = directory.path();
        for name in ["etc", "cache", "lib", "log", "run", "plugins"] {
            fs::create_dir(root.join(name)).with_context(|| format!("cannot create {name}"))?;
        }
        let port = free_port()?;
        write_file(&root.join("etc/.opt-out-from-anonymous-statistics"), "")?;
        write_file(&root.join("etc/ebpf.conf"), ebpf_conf)?;
        write_file(&root.join("etc/apps_groups.conf"), apps_groups)?;
        write_file(&root.join("etc/netdata.conf"), &configuration(root, port, enabled))?;
        symlink(plugin, root.join("plugins").join(PLUGIN)).context("cannot link ebpf.plugin")?;
        let out = fs::File::create(root.join("log/out"))?;
        let child = Command::new(PROGRAM)
            .arg("-D")
            .arg("-c")
            .arg(root.join("etc/netdata.conf"))
            .arg("-P")
            .arg(root.join("run/netdata.pid"))
            .current_dir(root)
            .env_remove("NETDATA_USER_CONFIG_DIR")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}"))?;
        let mut agent = Agent { child, port, directory };
        agent.wait("its web server", START_LIMIT, |agent| Ok(agent.get("/api/v1/info").is_ok()))?;
        Ok(agent)
    }

    /// Address of the dashboard.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Process ids of the `ebpf.plugin` that it runs now; the agent has helpers of its own, too.
    pub fn plugin_pids(&self) -> Result<Vec<u32>> {
        let pids = children(self.child.id())?;
        Ok(pids.into_iter().filter(|&pid| process(pid).is_some_and(|plugin| plugin.comm == PLUGIN)).collect())
    }

    /// Answer of `/api/v1/charts`: the object `charts`, by id.
    pub fn charts(&self) -> Result<serde_json::Map<String, Value>> {
        let answer = self.get("/api/v1/charts")?;
        answer["charts"].as_object().cloned().context("/api/v1/charts has no object `charts`")
    }

    /// Everything the agent has of `chart`, one row per second, oldest first.
    pub fn data(&self, chart: &str) -> Result<Data> {
        // No `points`: the agent answers with its own resolution, one row per second.
        self.data_from(&format!("/api/v1/data?chart={chart}&after=-900&format=json&gtime=0"))
    }

    fn data_from(&self, path: &str) -> Result<Data> {
        let answer = self.get(path)?;
        let labels =
            answer["labels"].as_array().with_context(|| format!("{path} has no labels: {answer}"))?;
        let labels =
            labels.iter().skip(1).map(|label| label.as_str().unwrap_or_default().to_owned()).collect();
        let rows = answer["data"].as_array().with_context(|| format!("{path} has no data"))?;
        let mut rows: Vec<(i64, Vec<Option<f64>>)> = rows
            .iter()
            .filter_map(|row| {
                let row = row.as_array()?;
                Some((row.first()?.as_i64()?, row.iter().skip(1).map(Value::as_f64).collect()))
            })
            .collect();
        rows.sort_by_key(|(second, _)| *second);
        Ok(Data { labels, rows })
    }

    /// Text of `error.log`; the plugin's own lines are in it.
    pub fn error_log(&self) -> String {
        let bytes = fs::read(self.directory.path().join("log/error.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Configuration directory.
    pub fn configuration_directory(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    /// Waits until `condition` holds. Fails with the agent's log when it ends or after `limit`.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Agent) -> Result<bool>,
    ) -> Result<()> {
        let waited = wait_until(what, limit, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}");
            }
            let holds = condition(self)?;
            if !holds {
                sleep(POLL_INTERVAL);
            }
            Ok(holds)
        });
        waited.with_context(|| format!("the agent's error.log:\n{}", self.error_log()))
    }

    /// SIGTERM, then waits for the end. Returns how it ended and its whole log.
    pub fn stop(mut self) -> Result<(ExitStatus, String)> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)
            .context("cannot stop the agent")?;
        let mut ended = None;
        wait_until("the agent's end", STOP_LIMIT, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        let status = ended.context("the agent has no status")?;
        Ok((status, self.error_log()))
    }

    fn get(&self, path: &str) -> Result<Value> {
        let body = http_get(self.port, path)?;
        serde_json::from_slice(&body).with_context(|| format!("{path} is no JSON"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Our own child, not reaped yet. Its plugin sees EPIPE and ends by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the agent says of itself in a private, minimal installation, for instance its web server about queries
/// older than its database. The plugin's own lines do not start with `netdata`.
const OWN_TROUBLES: [&str; 3] =
    ["netdata ERROR : MAIN", "netdata ERROR : STATSD", "netdata ERROR : WEB_SERVER"];

/// Lines of an `error.log` by which the agent or the plugin says that something is wrong with the plugin.
pub fn complaints(log: &str) -> Vec<&str> {
    let says = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let bad = |line: &&str| says(line, &[" ERROR ", " FATAL ", "Disabling"]);
    log.lines().filter(bad).filter(|line| !says(line, &OWN_TROUBLES)).collect()
}

fn configuration(root: &Path, port: u16, enabled: bool) -> String {
    let root = root.display();
    let others: String = OTHER_PLUGINS.iter().map(|plugin| format!("    {plugin} = no\n")).collect();
    let ebpf = if enabled { "yes" } else { "no" };
    format!(
        "[global]\n    run as user = root\n    hostname = ebpf-test\n\
         [directories]\n    config = {root}/etc\n    cache = {root}/cache\n    lib = {root}/lib\n    \
         log = {root}/log\n    plugins = {root}/plugins\n\
         [db]\n    mode = ram\n    retention = 600\n    update every = 1\n\
         [web]\n    bind to = 127.0.0.1:{port}\n\
         [registry]\n    enabled = no\n[health]\n    enabled = no\n[ml]\n    enabled = no\n\
         [plugins]\n{others}    ebpf = {ebpf}\n\
         [plugin:ebpf]\n    update every = 1\n    command options =\n"
    )
}

/// A port that nobody listens on now; the agent binds it a moment later.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_skip_gaps() {
        let data = Data {
            labels: vec!["a".to_owned(), "b".to_owned()],
            rows: vec![(1, vec![Some(1.5), None]), (2, vec![Some(2.0), Some(4.0)])],
        };
        assert_eq!(data.sum("a"), Some(3.5));
        assert_eq!(data.sum("b"), Some(4.0));
        assert_eq!(data.sum("c"), None);
    }
}
