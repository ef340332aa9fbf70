//! tonic: accessors on its requests, its statuses for our errors, and the names of its services.

use http::Extensions;
use tonic::{Request, Status, server::NamedService};

use crate::{
    accessors::{MissingScopeError, private::HasExtensions},
    context::UserRequiredError,
    factory::FactoryError,
    rejection::FactoryErrorKind,
    service::UserScope,
};

impl<T> HasExtensions for Request<T> {
    fn scope_extensions(&self) -> &Extensions {
        self.extensions()
    }
}

/// One service alone can have a layer: `server.add_service(layer.layer(GreeterServer::new(..)))`.
impl<S: NamedService, L, M, A> NamedService for UserScope<S, L, M, A> {
    const NAME: &'static str = S::NAME;
}

/// The service is outside the layer: `INTERNAL`.
impl From<MissingScopeError> for Status {
    fn from(missing: MissingScopeError) -> Self {
        tracing::error!(target: "tower_user_scope::audit", "{missing}");
        // Types of the application, and that a route has no layer, are nobody's business.
        Status::internal("the request could not be prepared")
    }
}

/// `UNAUTHENTICATED` where nobody acts, `PERMISSION_DENIED` where a service does.
impl From<UserRequiredError> for Status {
    fn from(required: UserRequiredError) -> Self {
        if required.is_anonymous() {
            Status::unauthenticated("a user is required")
        } else {
            Status::permission_denied("a user is required")
        }
    }
}

/// `UNAVAILABLE` where something could not be reached in time, else `INTERNAL`; the reason is in
/// the log.
impl From<FactoryError> for Status {
    fn from(error: FactoryError) -> Self {
        match error.kind() {
            FactoryErrorKind::Failed(_) => Status::internal("the request could not be prepared"),
            FactoryErrorKind::Unavailable(_) | FactoryErrorKind::TimedOut { .. } => {
                Status::unavailable("the request could not be prepared now")
            }
        }
    }
}
