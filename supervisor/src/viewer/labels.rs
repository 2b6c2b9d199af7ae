//! What peers and ports are called.

use shared::filter::Services;
use shared::peer;
use shared::snapshot::{Direction, FlowKey};

use super::address;

/// Makes labels; no two keys have the same.
#[derive(Debug)]
pub struct Labels {
    services: Option<Services>,
}

impl Labels {
    /// `services`: names of ports; without them ports are numbers.
    pub fn new(services: Option<Services>) -> Self {
        Labels { services }
    }

    /// The label of a peer by its address, or of a port of this host.
    pub fn of(&self, key: &FlowKey) -> String {
        self.with_host(key, None)
    }

    /// The label of a peer by its host name; two peers may have the same.
    pub fn with_host(&self, key: &FlowKey, host: Option<&str>) -> String {
        let service = match &self.services {
            Some(services) => services.label(key.port, key.protocol),
            None => key.port.to_string(),
        };
        match key.direction {
            Direction::Outbound => peer::outbound(&service, key.protocol, address(key), host),
            Direction::Inbound => peer::inbound(&service, key.protocol),
        }
    }
}
