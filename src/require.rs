//! A middleware for a route: requires something of the principal that an outer layer found.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use pin_project::pin_project;
use tower::Service;
use tower_layer::Layer;

use crate::{
    audit::{Audit, Observer},
    authorize::Require,
    config_error::ConfigError,
    context::UserContext,
    peer::peer_ip,
    policy::refuse,
    rejection::{
        BearerChallenge, DefaultResponder, LayersChallenge, Rejection, RejectionKind,
        RespondToRejection, challenges,
    },
    resolve::Refused,
    response::ResponseBody,
};

/// Refuses requests whose principal lacks what a route requires; stands inside a
/// [`UserScopeLayer`](crate::UserScopeLayer), which says who the principal is.
///
/// The refusal is a [`Rejection`] like that of the outer layer: in its form, with its
/// [`BearerChallenge`], and with an audit event that says what is missing. A route that is inside no `UserScopeLayer` is a mistake, and answers 500.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_user_scope::{
///     ExistingContext, UserScopeLayer, authorize::Require, middleware::RequireLayer,
/// };
///
/// let may_write = RequireLayer::new(Require::new().scope("orders:write"));
/// let users = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .context_only()
///     .build()?;
///
/// let app: Router = Router::new()
///     .route("/orders", post(async || "created").layer(may_write))
///     .route("/orders/{id}", get(async || "an order"))
///     .layer(users);
/// # let _ = app;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RequireLayer {
    rules: Arc<Rules>,
}

#[derive(Clone)]
struct Rules {
    require: Require,
    respond: Arc<dyn RespondToRejection + Send + Sync>,
    /// `None` takes that of the outer layer.
    bearer: Option<BearerChallenge>,
    audit: Audit,
}

impl RequireLayer {
    /// Refuses requests whose principal does not meet these requirements.
    #[must_use]
    pub fn new(require: Require) -> Self {
        Self {
            rules: Arc::new(Rules {
                require,
                respond: Arc::new(DefaultResponder::default()),
                bearer: None,
                audit: Audit::default(),
            }),
        }
    }

    /// Replaces the responses to refused requests; see [`RespondToRejection`].
    #[must_use]
    pub fn rejection_response(
        mut self,
        respond: impl RespondToRejection + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.rules).respond = Arc::new(respond);
        self
    }

    /// Completes every `Bearer` challenge, instead of what
    /// [`LayerBuilder::bearer_challenge`](crate::middleware::LayerBuilder::bearer_challenge) of the outer
    /// layer has.
    ///
    /// # Errors
    /// [`ConfigError::Challenge`] if a parameter has a wrong value.
    pub fn bearer_challenge(mut self, challenge: BearerChallenge) -> Result<Self, ConfigError> {
        challenge.validate()?;
        Arc::make_mut(&mut self.rules).bearer = Some(challenge);
        Ok(self)
    }

    /// Adds an observer, which receives the audit event of each refusal.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.rules)
            .audit
            .add_observer(Arc::new(observer));
        self
    }
}

impl Rules {
    fn refusal(&self, head: &Parts) -> Option<Response<Bytes>> {
        let refused = match head.extensions.get::<UserContext>() {
            None => Refused::of_nobody(Rejection::new(RejectionKind::OutsideLayer)),
            Some(context) => {
                let forbidden = self.require.check(context).err()?;
                let rejection =
                    Rejection::forbidden(context.strategy(), context.evidence(), forbidden);
                let layers = head.extensions.get().map(|LayersChallenge(it)| &**it);
                let none = BearerChallenge::new();
                let bearer = self.bearer.as_ref().or(layers).unwrap_or(&none);
                Refused::of(context, challenges(rejection, bearer, None, |_| {}))
            }
        };
        let peer = peer_ip(&head.extensions);
        Some(refuse(&self.audit, &*self.respond, refused, head, peer))
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireService {
            inner,
            rules: Arc::clone(&self.rules),
        }
    }
}

impl fmt::Debug for RequireLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer")
            .field("require", &self.rules.require)
            .finish_non_exhaustive()
    }
}

/// The service of a [`RequireLayer`].
#[derive(Clone)]
pub struct RequireService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let state = match self.rules.refusal(&head) {
            None => State::Calling(self.inner.call(Request::from_parts(head, body))),
            Some(response) => State::Refused(Some(Box::new(response))),
        };
        RequireFuture { state }
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// The response future of a [`RequireService`].
#[pin_project]
pub struct RequireFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProjection)]
enum State<F> {
    Calling(#[pin] F),
    /// Taken by the response.
    Refused(Option<Box<Response<Bytes>>>),
}

impl<F, ResBody, E> Future for RequireFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Calling(future) => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(ResponseBody::unscoped)))
            }
            StateProjection::Refused(response) => {
                let Some(response) = response.take() else {
                    unreachable!("`RequireFuture` polled after it was ready")
                };
                Poll::Ready(Ok(response.map(ResponseBody::rejection)))
            }
        }
    }
}

impl<F> fmt::Debug for RequireFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFuture").finish_non_exhaustive()
    }
}
