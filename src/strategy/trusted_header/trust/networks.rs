//! The networks of trusted proxies.

use std::{fmt, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::config_error::ConfigError;

/// How many networks one audit event names.
const MOST_SHOWN: usize = 8;

/// Networks, as the ranges of integers that a peer's address is compared with.
pub(in crate::strategy::trusted_header) struct Networks {
    given: Vec<IpNet>,
    /// For audit events: the first networks, and how many more.
    shown: String,
    v4: Vec<RangeInclusive<u32>>,
    v6: Vec<RangeInclusive<u128>>,
}

impl Networks {
    pub(super) fn new<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let networks = networks
            .into_iter()
            .map(|text| network(text.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err(ConfigError::NoNetwork);
        }
        // Aggregated first: `0.0.0.0/1` and `128.0.0.0/1` are every address.
        if let Some(wide) = IpNet::aggregate(&networks)
            .into_iter()
            .find(|network| is_too_wide(*network))
        {
            return Err(ConfigError::EveryAddress {
                network: wide.to_string(),
            });
        }
        // Networks that overlap are one, so that an address can be in one range only.
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in IpNet::aggregate(&networks) {
            match network {
                IpNet::V4(net) => v4.push(net.network().to_bits()..=net.broadcast().to_bits()),
                IpNet::V6(net) => v6.push(net.network().to_bits()..=net.broadcast().to_bits()),
            }
        }
        v4.sort_unstable_by_key(|range| *range.start());
        v6.sort_unstable_by_key(|range| *range.start());
        Ok(Self {
            shown: shown(&networks),
            given: networks,
            v4,
            v6,
        })
    }

    #[inline]
    pub(super) fn contains(&self, peer: IpAddr) -> bool {
        match peer {
            IpAddr::V4(ip) => is_in(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_in(&self.v6, ip.to_bits()),
        }
    }
}

/// Whether the address is in one of the ranges, which are in order and do not overlap: with a
/// thousand of them, ten are looked at.
fn is_in<A: Ord + Copy>(ranges: &[RangeInclusive<A>], address: A) -> bool {
    let after = ranges.partition_point(|range| *range.start() <= address);
    let last = after.checked_sub(1).and_then(|before| ranges.get(before));
    last.is_some_and(|range| address <= *range.end())
}

impl Networks {
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

fn shown(networks: &[IpNet]) -> String {
    let first = networks.iter().take(MOST_SHOWN).map(IpNet::to_string);
    let text = first.collect::<Vec<_>>().join(", ");
    match networks.len().saturating_sub(MOST_SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.given.fmt(f)
    }
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    let network = text
        .parse::<IpNet>()
        .map(to_canonical_network)
        .or_else(|_| {
            text.parse::<IpAddr>()
                .map(|address| address.to_canonical().into())
        })
        .map_err(|_| ConfigError::Network {
            network: text.to_owned(),
        })?;
    if network != network.trunc() {
        return Err(ConfigError::HostBits {
            network: text.to_owned(),
            meant: network.trunc().to_string(),
        });
    }
    Ok(network)
}

/// Converts an IPv4-mapped network. Peers are compared in canonical form, in which `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn to_canonical_network(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(v6), address @ IpAddr::V4(_)) if v6.prefix_len() >= MAPPED => {
            IpNet::new(address, v6.prefix_len() - MAPPED).unwrap_or(network)
        }
        _ => network,
    }
}

/// Whether a network is wider than the widest private ones, `10.0.0.0/8` and `fc00::/7`.
fn is_too_wide(network: IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < 8,
        IpNet::V6(v6) => v6.prefix_len() < 7,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::Networks;

    proptest! {
        #[test]
        fn an_address_is_trusted_where_one_of_the_networks_has_it(
            given in proptest::collection::vec((any::<u32>(), 9_u8..=32), 1..40),
            peer in any::<u32>(),
            near in any::<prop::sample::Index>(),
        ) {
            let networks: Vec<IpNet> = given
                .iter()
                .map(|(bits, len)| {
                    let network = IpNet::new(Ipv4Addr::from(*bits).into(), *len);
                    network.expect("a length of IPv4").trunc()
                })
                .collect();
            let Ok(trusted) = Networks::new(networks.iter().map(IpNet::to_string)) else {
                return Ok(());
            };
            let border = near.get(&networks).broadcast();
            for peer in [IpAddr::V4(Ipv4Addr::from(peer)), border] {
                let expected = networks.iter().any(|network| network.contains(&peer));
                prop_assert_eq!(trusted.contains(peer), expected, "{}", peer);
            }
        }
    }
}
