//! A refusal, and what was known of the request by then.

use std::{borrow::Cow, net::IpAddr};

use http::request::Parts;

use crate::{
    audit::{AuditEvent, loggable},
    context::{Identity, Principal, RequestId, Subject, UserContext},
    rejection::Rejection,
};

pub(crate) struct Refused {
    pub(crate) rejection: Rejection,
    /// Who was found and then refused.
    pub(crate) subject: Option<Box<Subject>>,
    pub(crate) actor: Option<Principal>,
    pub(crate) request_id: Option<RequestId>,
    /// The name of the work, if it is not a request.
    pub(crate) work: Option<&'static str>,
}

impl Refused {
    /// Nobody was found.
    pub(crate) fn of_nobody(rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: None,
            actor: None,
            request_id: None,
            work: None,
        }
    }

    /// An identity was found, and no context made of it.
    pub(crate) fn of_identity(identity: &Identity, rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: Some(Box::new(identity.subject().clone())),
            actor: identity.actor().cloned(),
            request_id: None,
            work: None,
        }
    }

    pub(crate) fn of(context: &UserContext, rejection: Rejection) -> Self {
        Self {
            request_id: Some(context.request_id().clone()),
            work: context.work(),
            ..Self::of_identity(context.identity(), rejection)
        }
    }

    /// Returns the event for the audit; `head` is the request's, if it is one.
    pub(crate) fn event<'a>(
        &'a self,
        head: Option<&'a Parts>,
        peer: Option<IpAddr>,
    ) -> AuditEvent<'a> {
        AuditEvent::Refused {
            rejection: Cow::Borrowed(&self.rejection),
            subject: self.subject.as_deref().map(Cow::Borrowed),
            actor: self.actor.as_ref().map(Cow::Borrowed),
            request_id: self.request_id.as_ref().map(Cow::Borrowed),
            method: head.map(|head| Cow::Borrowed(&head.method)),
            path: head.map(|head| loggable(head.uri.path())),
            work: self.work,
            peer,
        }
    }
}
