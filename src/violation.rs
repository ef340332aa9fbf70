//! The use of a factory where it must not be used.

use thiserror::Error;

use crate::context::RequestId;

/// A factory was used where it must not be.
///
/// It names strategies and requests, and neither user: what it says may end up in a log, or by
/// a panic in a response, that belongs to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IsolationError {
    /// In the scope of another user.
    #[error(
        "`{factory}` was built for request {owner} (by strategy `{owner_strategy}`) and used in \
         request {current} of another user (by strategy `{current_strategy}`): a static, a \
         cache or a captured clone kept it; take the one of the request at hand, or hand it \
         over with `Scoped::unchecked`"
    )]
    #[non_exhaustive]
    OtherUser {
        /// The type of the factory.
        factory: &'static str,
        /// The request that it was built for.
        owner: RequestId,
        /// The strategy that resolved that request.
        owner_strategy: &'static str,
        /// The request that it was used in.
        current: RequestId,
        /// The strategy that resolved that one.
        current_strategy: &'static str,
    },
    /// Outside every scope, as in a spawned task, where the layer is
    /// [strict](crate::middleware::LayerBuilder::require_scope).
    #[error(
        "`{factory}` was built for request {owner} (by strategy `{owner_strategy}`) and used \
         outside every scope: give the work its scope with `.in_current_scope()`, or with \
         `UserContext::enter` if it is a closure"
    )]
    #[non_exhaustive]
    NoScope {
        /// The type of the factory.
        factory: &'static str,
        /// The request that it was built for.
        owner: RequestId,
        /// The strategy that resolved that request.
        owner_strategy: &'static str,
    },
    /// After the scope of its own request had closed, where the layer
    /// [refuses that](crate::middleware::LayerBuilder::require_open_scope).
    #[error(
        "`{factory}` was built for request {owner} (by strategy `{owner_strategy}`) and used \
         after the scope of that request had closed: hold the handle that `Scoped::keep` returns, \
         or let the work end with its request"
    )]
    #[non_exhaustive]
    ScopeClosed {
        /// The type of the factory.
        factory: &'static str,
        /// The request that it was built for.
        owner: RequestId,
        /// The strategy that resolved that request.
        owner_strategy: &'static str,
    },
}
