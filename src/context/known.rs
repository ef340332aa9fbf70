//! What is known: of a principal, and of the request that it makes.
//!
//! An identity and the context that it becomes are one allocation. The identity begins it, the
//! context fills in the request; so little is moved on the way, and nothing twice.

use std::{sync::Arc, time::SystemTime};

use super::{
    Attributes, Correlation, Evidence, Handles, RequestId, Subject, UserContext, identity::Work,
};

#[derive(Clone)]
pub(super) struct Known {
    pub(super) subject: Subject,
    pub(super) evidence: Evidence,
    pub(super) attributes: Attributes,
    pub(super) expires_at: Option<SystemTime>,
    /// Most credentials are for no work in particular.
    pub(super) work: Option<Arc<Work>>,
    /// The context of an outer layer that the identity continues.
    pub(super) continues: Option<UserContext>,
    /// Of the context that the identity has become; nothing before.
    pub(super) request: Request,
}

/// What ties an identity to a request.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) strategy: &'static str,
    pub(super) correlation: Correlation,
    pub(super) handles: Handles,
    /// Few contexts come from others.
    pub(super) descent: Option<Box<Descent>>,
}

/// What a context has of those that it continues or is a child of.
#[derive(Clone, Default)]
pub(super) struct Descent {
    pub(super) parent: Option<RequestId>,
    pub(super) depth: u8,
    /// What the outer layers that this context continues put into the extensions.
    pub(super) outer: Vec<Handles>,
}

impl Request {
    pub(super) const fn none() -> Self {
        Self {
            strategy: "",
            correlation: Correlation::of_no_request(),
            handles: Handles::NONE,
            descent: None,
        }
    }
}
