//! The network viewer: from the traffic of each epoch to charts of peers and ports.
//!
//! In: the flows of every merged epoch, each once, and the answers of the name service. Out: the charts of flows of the module's
//! table, and one with what the filters leave out. Traffic that passes the filters is in exactly one dimension of each chart of its
//! direction, and stays there.

mod candidates;
mod charts;
mod labels;
mod names;
mod peers;
mod resolver;
mod retired;
mod system_names;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use shared::canary::Ports;
use shared::config::{Config, LoadMode};
use shared::diagnostic::Diagnostic;
use shared::filter::{Filters, SERVICES_FILE, Services};
use shared::snapshot::{Direction, Flow, FlowKey, Traffic};
use shared::table::{FlowsOf, Table};
use shared::wire::Plan;

use crate::chart::Chart;
use labels::Labels;
use names::Names;
use peers::Peers;

pub use resolver::Servers;

/// What of one direction the filters leave out: until now, and until it was drawn last.
#[derive(Debug, Default)]
struct Filtered {
    total: Traffic,
    drawn: Traffic,
}

/// Everything that the charts of flows show.
#[derive(Debug)]
pub struct Viewer {
    filters: Filters,
    labels: Labels,
    /// `None` while peers are shown by address.
    names: Option<Names>,
    /// Whether `hostnames` leaves anybody out.
    names_decide: bool,
    outbound: Peers,
    inbound: Peers,
    filtered_outbound: Filtered,
    filtered_inbound: Filtered,
    /// Those whose traffic has no dimension of its own.
    canary: Ports,
    /// The charts with their dimensions, and what each shows; empty until the worker said what it counts.
    charts: Vec<Chart>,
    shows: Vec<FlowsOf>,
    /// When the newest epoch ended, nanoseconds of CLOCK_MONOTONIC.
    now_ns: u64,
}

impl Viewer {
    /// The viewer that `config` describes; `file` is where the configuration stands, for the remarks.
    ///
    /// `servers`: whom to ask for names. Does not fail.
    pub fn new(config: &Config, file: &Path, servers: Servers) -> (Self, Vec<Diagnostic>) {
        let options = &config.network_viewer;
        let (services, mut remarks) = Services::load(&config.service_names, Path::new(SERVICES_FILE));
        let (filters, about_filters) = Filters::new(options, &services, file);
        remarks.extend(about_filters);
        // Two dimensions for each, and two of `other`.
        let room = (options.maximum_dimensions as usize / 2).saturating_sub(1);
        let viewer = Viewer {
            names_decide: !filters.hosts.allows_all(),
            filters,
            labels: Labels::new(options.resolve_service_names.then_some(services)),
            names: options.resolve_hostname_ips.then(|| Names::new(servers)),
            outbound: Peers::new(room),
            inbound: Peers::new(room),
            filtered_outbound: Filtered::default(),
            filtered_inbound: Filtered::default(),
            canary: Ports::default(),
            charts: Vec::new(),
            shows: Vec::new(),
            now_ns: 0,
        };
        (viewer, remarks)
    }

    /// Makes the charts of what the worker counts, on the first call; a later, poorer plan changes nothing.
    pub fn announce(&mut self, table: &Table, load_mode: LoadMode, plan: &Plan) {
        if self.charts.is_empty() {
            (self.charts, self.shows) = charts::of_plan(table, load_mode, plan);
        }
    }

    /// From the next epoch on, traffic of a canary with these ports goes to `other`: each canary has new ones, which never come back.
    pub fn keep_together(&mut self, canary: Ports) {
        self.canary = canary;
    }

    /// Adds the traffic of one epoch; `taken_at_ns`: when it was closed. Every epoch is added once.
    pub fn add(&mut self, flows: &[Flow], taken_at_ns: u64) {
        // A worker that is wrong about the time must not turn it back.
        self.now_ns = self.now_ns.max(taken_at_ns);
        if let Some(names) = &mut self.names {
            names.take_answers(self.now_ns);
        }
        let (mut outbound, mut inbound) = (Vec::new(), Vec::new());
        for flow in flows.iter().filter(|flow| flow.traffic != Traffic::default()) {
            let is_nobodys = flow.key.is_unknown();
            let has_place = !is_nobodys && !self.canary.are_of(&flow.key);
            match flow.key.direction {
                Direction::Inbound if !is_nobodys && !self.filters.ports.allows(flow.key.port) => {
                    self.filtered_inbound.total.add(&flow.traffic);
                }
                Direction::Inbound if has_place => inbound.push(flow),
                Direction::Inbound => self.inbound.add_to_other(&flow.traffic),
                Direction::Outbound if !is_nobodys && !self.allows(&flow.key) => {
                    self.filtered_outbound.total.add(&flow.traffic);
                    self.outbound.leave(&flow.key);
                }
                Direction::Outbound if has_place => outbound.push(flow),
                Direction::Outbound => self.outbound.add_to_other(&flow.traffic),
            }
        }
        self.outbound.add(&outbound, self.now_ns, &self.labels);
        self.inbound.add(&inbound, self.now_ns, &self.labels);
        self.ask_for_names(&outbound);
    }

    /// Whether this peer passes the filters, by the name that is known now; without one it does.
    fn allows(&self, key: &FlowKey) -> bool {
        let address = address(key);
        let name = || self.names.as_ref().filter(|_| self.names_decide).and_then(|names| names.name(address));
        self.filters.allows(address, key.port) && self.filters.hosts.allows(name())
    }

    /// Asks for the names of the peers that are shown; and of the others, too, if the names decide who passes.
    fn ask_for_names(&mut self, outbound: &[&Flow]) {
        let Some(names) = &mut self.names else {
            return;
        };
        let (shown, others): (Vec<&Flow>, Vec<&Flow>) =
            outbound.iter().partition(|flow| self.outbound.is_shown(&flow.key));
        shown.iter().for_each(|flow| names.ask(address(&flow.key), self.now_ns));
        if self.names_decide {
            others.iter().for_each(|flow| names.ask(address(&flow.key), self.now_ns));
        }
    }

    /// The charts with the newest totals.
    pub fn draw(&mut self) -> &[Chart] {
        if let Some(names) = &mut self.names {
            names.take_answers(self.now_ns);
            let hosts = &self.filters.hosts;
            if self.names_decide {
                self.outbound.leave_where(|key| !hosts.allows(names.name(address(key))));
            }
            let shown = |key: &FlowKey| names.name(address(key)).filter(|name| hosts.allows(Some(name)));
            self.outbound.rename(&self.labels, shown);
        }
        for (chart, shows) in self.charts.iter_mut().zip(&self.shows) {
            let peers = match shows.direction {
                Direction::Outbound => &self.outbound,
                Direction::Inbound => &self.inbound,
            };
            chart.dimensions = charts::of_peers(peers, *shows);
        }
        if let Some(chart) = self.charts.last_mut().filter(|_| !self.shows.is_empty()) {
            chart.dimensions = charts::of_filtered(&self.filtered_outbound, &self.filtered_inbound);
        }
        self.outbound.drawn(self.now_ns);
        self.inbound.drawn(self.now_ns);
        for filtered in [&mut self.filtered_outbound, &mut self.filtered_inbound] {
            filtered.drawn = filtered.total;
        }
        &self.charts
    }
}

/// The peer's address; IPv4 as such.
fn address(key: &FlowKey) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(key.address)).to_canonical()
}
