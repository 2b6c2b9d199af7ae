//! The resolver of this host as its files describe it, also after they changed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use shared::wire::LogLevel;

use super::resolver::Servers;
use crate::log;

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How often the files are looked at: a host that moves to another network has new servers.
const LOOK: Duration = Duration::from_secs(10);

/// A resolver that follows the files.
pub struct SystemNames {
    servers: Servers,
    resolver: Option<TokioResolver>,
    changed: Option<[Option<SystemTime>; 2]>,
    looked: Instant,
}

impl SystemNames {
    /// Reads nothing yet.
    pub fn new(servers: Servers) -> Self {
        SystemNames { servers, resolver: None, changed: None, looked: Instant::now() }
    }

    /// The resolver; `None` when there can be none.
    pub fn resolver(&mut self) -> Option<TokioResolver> {
        if self.changed.is_none() || self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let changed = FILES.map(modified);
            if self.changed.replace(changed) != Some(changed) {
                self.resolver = match build(&self.servers) {
                    Ok(resolver) => Some(resolver),
                    Err(error) => {
                        warn(&format!("cannot resolve names, so peers are shown by address: {error}"));
                        None
                    }
                };
            }
        }
        self.resolver.clone()
    }
}

fn modified(file: &str) -> Option<SystemTime> {
    fs::metadata(Path::new(file)).and_then(|metadata| metadata.modified()).ok()
}

fn build(servers: &Servers) -> Result<TokioResolver, NetError> {
    let (config, mut options) = match servers {
        Servers::These(config) => ((**config).clone(), ResolverOpts::default()),
        Servers::OfTheSystem => read_system_conf().unwrap_or_else(|error| {
            warn(&format!("{}: {error}; only names in {} are known until it changes", FILES[0], FILES[1]));
            (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
        }),
    };
    // Answers are remembered where they are used.
    options.cache_size = 0;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

fn warn(text: &str) {
    log::line(LogLevel::Warning, "network_viewer", text.to_owned());
}
