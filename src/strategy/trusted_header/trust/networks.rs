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
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in &networks {
            match network {
                IpNet::V4(net) => v4.push(net.network().to_bits()..=net.broadcast().to_bits()),
                IpNet::V6(net) => v6.push(net.network().to_bits()..=net.broadcast().to_bits()),
            }
        }
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
            IpAddr::V4(ip) => self.v4.iter().any(|net| net.contains(&ip.to_bits())),
            IpAddr::V6(ip) => self.v6.iter().any(|net| net.contains(&ip.to_bits())),
        }
    }
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
