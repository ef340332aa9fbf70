//! Responses to refused requests, and audit events.

use std::sync::Arc;

use http::HeaderName;

use super::LayerBuilder;
use crate::{
    audit::{Observer, UserIdTelemetry},
    context::ReturnRequestId,
    rejection::{BearerChallenge, RespondToRejection},
};

/// # Responses and telemetry
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Replaces the responses to refused requests; see [`RespondToRejection`], and
    /// [`LoginRedirect`](crate::rejection::LoginRedirect) for browsers.
    pub fn rejection_response(
        mut self,
        respond: impl RespondToRejection + Send + Sync + 'static,
    ) -> Self {
        self.settings.respond = Box::new(respond);
        self
    }

    /// Completes every `Bearer` challenge of the layer's refusals, whichever strategy makes it: with a
    /// realm, the scopes that are needed, or where the metadata of this service are (RFC 9728). A
    /// parameter that a challenge has already stays, such as the `scope` of `insufficient_scope`.
    ///
    /// See [`BearerChallenge`]. A wrong value is an error of `build()`.
    pub fn bearer_challenge(mut self, challenge: BearerChallenge) -> Self {
        self.settings.bearer = challenge;
        self
    }

    /// Sends the id of each request back in its response, in the header that it is read from
    /// (`x-request-id` by default); refusals have it too.
    ///
    /// The layer also sets the header of the request, so that the inner service knows it by the
    /// same id. It agrees with tower-http's `SetRequestId` and `PropagateRequestId`, which may be
    /// inside or outside, or both: whoever is outermost makes the id, and the others find it. If
    /// the inner service sets the header of the response, that value stays, as it does with
    /// `PropagateRequestId`.
    ///
    /// A request that is refused gets the id that it sent, if that is valid, and a new one
    /// otherwise; the audit event has the same one.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{ServiceExt, service_fn};
    /// use tower_layer::Layer;
    /// use tower_user_scope::{Fallback, UserScopeLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = UserScopeLayer::builder()
    ///     .fallback(Fallback::anonymous())
    ///     .request_id_in_response()
    ///     .context_only()
    ///     .build()?;
    /// let service = layer.layer(service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    /// }));
    /// let request = Request::builder().header("x-request-id", "r-17").body(())?;
    /// let response = service.oneshot(request).await?;
    /// assert_eq!(response.headers()["x-request-id"], "r-17");
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_id_in_response(mut self) -> Self {
        self.settings.return_request_id = ReturnRequestId::AsRead;
        self
    }

    /// As [`request_id_in_response`](Self::request_id_in_response), in another header than the
    /// one that the id is read from.
    pub fn request_id_in_response_header(mut self, name: HeaderName) -> Self {
        self.settings.return_request_id = ReturnRequestId::In(name);
        self
    }

    /// Adds an observer, which receives every audit event.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.settings.audit.add_observer(Arc::new(observer));
        self
    }

    /// Sets how user ids appear in spans and `tracing` events. By default they don't.
    ///
    /// An [`AuditLog`](crate::audit) has a setting of the same type and its own. The guide lists
    /// [which output uses which](crate::guide::operating#user-ids).
    pub fn user_ids_in_telemetry(mut self, how: UserIdTelemetry) -> Self {
        self.settings.audit.set_user_ids(how);
        self
    }
}
