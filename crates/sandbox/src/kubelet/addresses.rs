//! The pod addresses of a node.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

/// Hands out the addresses of the node's pod range in turn, so that one is not used again at once.
#[derive(Debug)]
pub(super) struct Addresses {
    network: u32,
    prefix: u8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: BTreeSet<u32>,
    last: u32,
}

impl Addresses {
    /// Reads a range such as `10.244.3.0/24`.
    pub(super) fn parse(range: &str) -> Option<Self> {
        let (network, prefix) = range.split_once('/')?;
        let network: Ipv4Addr = network.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|p| (8..=30).contains(p))?;
        Some(Self {
            network: network.to_bits(),
            prefix,
            state: Mutex::new(State {
                used: BTreeSet::new(),
                last: 1,
            }),
        })
    }

    /// The bridge's address, the first of the range.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// The length of the range's prefix.
    pub(super) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// An address that no pod has.
    pub(super) fn take(&self) -> Option<Ipv4Addr> {
        let last_host = (1_u32 << (32 - self.prefix)) - 2;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = state.last;
        let candidate = (2..=last_host)
            .map(|n| (start + n - 3) % (last_host - 1) + 2)
            .find(|n| !state.used.contains(n))?;
        state.used.insert(candidate);
        state.last = candidate;
        Some(Ipv4Addr::from_bits(self.network + candidate))
    }

    /// Takes an address back.
    pub(super) fn give_back(&self, address: Ipv4Addr) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .used
            .remove(&(address.to_bits() - self.network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round_before_one_is_used_again() {
        let addresses = Addresses::parse("10.244.3.0/29").unwrap();
        assert_eq!(addresses.gateway().to_string(), "10.244.3.1");
        let mut seen: Vec<String> = (0..5)
            .map(|_| addresses.take().unwrap().to_string())
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "10.244.3.2",
                "10.244.3.3",
                "10.244.3.4",
                "10.244.3.5",
                "10.244.3.6"
            ]
        );
        assert_eq!(addresses.take(), None);
        addresses.give_back("10.244.3.4".parse().unwrap());
        assert_eq!(addresses.take().unwrap().to_string(), "10.244.3.4");
    }
}
