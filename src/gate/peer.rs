//! Who is at the other end: the client's address behind trusted proxies, and how many connections
//! an address has open. No sockets.

use crate::base::address::{AddressRange, network};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// The address to hold responsible: the peer itself, or behind trusted proxies the last address in
/// `forwarded` (the `X-Forwarded-For` fields in order) that is not one of them. What stands left of
/// an address that cannot be read is not believed.
pub(super) fn client_address(peer: IpAddr, forwarded: &[&str], trusted: &[AddressRange]) -> IpAddr {
    let mut client = peer;
    let mut hops = forwarded.iter().rev().flat_map(|field| field.rsplit(','));
    while trusted.iter().any(|range| range.contains(client)) {
        match hops.next().and_then(parse_hop) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address with or without a port, IPv6 with or without brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .map(|address: IpAddr| address.to_canonical())
        .ok()
}

/// Connections by network of one client.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    open: HashMap<IpAddr, usize>,
}

impl PeerTable {
    /// Counts one more connection of `address` unless it has `max` already.
    pub(super) fn admit(&mut self, address: IpAddr, max: usize) -> bool {
        let network = network(address);
        let open = self.open.get(&network).copied().unwrap_or(0);
        if open < max {
            self.open.insert(network, open + 1);
        }
        open < max
    }

    /// Forgets one connection that was admitted.
    pub(super) fn release(&mut self, address: IpAddr) {
        let network = network(address);
        if let Some(open) = self.open.get_mut(&network) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_untrusted_address_counts() {
        let trusted = ["10.0.0.0/30", "::1"].map(|text| AddressRange::parse(text).unwrap());
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let found = client_address(ip(peer), forwarded, &trusted);
            assert_eq!(found, ip(expected), "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &["1.2.3.4"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["1.2.3.4"], "1.2.3.4");
        check("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4");
        check("10.0.0.1", &["6.6.6.6, 1.2.3.4,10.0.0.2"], "1.2.3.4");
        check("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"], "1.2.3.4");
        check("10.0.0.1", &["6.6.6.6, junk, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["6.6.6.6, "], "10.0.0.1");
        check("::1", &["[2001:db8::7]:443"], "2001:db8::7");
        check("::1", &["[2001:db8::7]"], "2001:db8::7");
        check("::1", &["1.2.3.4:80"], "1.2.3.4");
        check("::1", &["::ffff:10.0.0.1"], "10.0.0.1");
    }

    #[test]
    fn connections_are_counted_by_network() {
        let mut table = PeerTable::default();
        assert!(table.admit(ip("1.2.3.4"), 2));
        assert!(table.admit(ip("1.2.3.4"), 2));
        assert!(!table.admit(ip("1.2.3.4"), 2));
        assert!(table.admit(ip("1.2.3.5"), 2));
        table.release(ip("1.2.3.4"));
        assert!(table.admit(ip("1.2.3.4"), 2));
        assert!(table.admit(ip("2001:db8::1"), 1));
        assert!(!table.admit(ip("2001:db8::ffff:0:0:2"), 1));
        assert!(table.admit(ip("2001:db8:0:1::1"), 1));
        for address in [
            "1.2.3.4",
            "1.2.3.4",
            "1.2.3.5",
            "2001:db8::9",
            "2001:db8:0:1::",
        ] {
            table.release(ip(address));
        }
        assert!(table.open.is_empty());
    }
}
