//! Whose use is counted together.

use std::net::{IpAddr, Ipv6Addr};

use http::request::Parts;

use crate::{
    context::{Subject, TenantId, UserContext},
    peer::peer_ip,
};

/// Whose requests a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    Subject,
    Tenant,
}

/// One of those whose use is counted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Subject(Subject),
    Tenant(TenantId),
    /// Nobody in particular, by address.
    Peer(Option<IpAddr>),
}

impl Counted {
    pub(super) fn of(per: Per, context: &UserContext, head: &Parts) -> Self {
        match (per, context.tenant_id()) {
            (Per::Tenant, Some(tenant)) => Self::Tenant(tenant.clone()),
            _ if context.subject().is_of_one_request() => {
                Self::Peer(peer_ip(&head.extensions).map(network))
            }
            _ => Self::Subject(context.subject().clone()),
        }
    }

    /// Returns the key of a limit for a store, in which no two of them are the same.
    pub(super) fn key(&self, limit: &str, context: &UserContext) -> String {
        match self {
            Self::Subject(_) => context.scoped_key(limit),
            Self::Tenant(tenant) => format!("{limit}:tenant:{tenant}"),
            Self::Peer(Some(peer)) => format!("{limit}:peer:{peer}"),
            Self::Peer(None) => format!("{limit}:peer"),
        }
    }
}

/// Returns the address that stands for one client: an IPv6 client has a network of 64 bits
/// (RFC 6177 section 2).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}
