//! A refusal, and what was known of the request by then.

use crate::{
    context::{Principal, RequestId, Subject, UserContext},
    rejection::Rejection,
};

pub(crate) struct Refused {
    pub(crate) rejection: Rejection,
    /// Who was found and then refused.
    pub(crate) subject: Option<Box<Subject>>,
    pub(crate) actor: Option<Principal>,
    pub(crate) request_id: Option<RequestId>,
}

impl Refused {
    /// Nobody was found.
    pub(crate) fn of_nobody(rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: None,
            actor: None,
            request_id: None,
        }
    }

    pub(crate) fn of(context: &UserContext, rejection: Rejection) -> Self {
        Self {
            rejection,
            subject: Some(Box::new(context.subject().clone())),
            actor: context.actor().cloned(),
            request_id: Some(context.request_id().clone()),
        }
    }
}
