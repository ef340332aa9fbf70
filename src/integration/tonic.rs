//! tonic: accessors on its requests, its statuses for our errors, and the names of its services.

use http::Extensions;
use tonic::{Request, Status, server::NamedService};

use crate::{
    accessors::{MissingScope, private::HasExtensions},
    context::UserRequired,
    factory::FactoryError,
    rejection::FactoryFailure,
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
impl From<MissingScope> for Status {
    fn from(missing: MissingScope) -> Self {
        tracing::error!(target: "tower_user_scope::audit", "{missing}");
        // Types of the application, and that a route has no layer, are nobody's business.
        Status::internal("the request could not be prepared")
    }
}

/// `UNAUTHENTICATED` where nobody acts, `PERMISSION_DENIED` where a service does.
impl From<UserRequired> for Status {
    fn from(required: UserRequired) -> Self {
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
        match error.failure() {
            FactoryFailure::Failed(_) => Status::internal("the request could not be prepared"),
            FactoryFailure::Unavailable(_) | FactoryFailure::TimedOut { .. } => {
                Status::unavailable("the request could not be prepared now")
            }
        }
    }
}
