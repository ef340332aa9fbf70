//! A service behind a layer, and what it makes of a request.

pub(crate) mod endpoint;
pub(crate) mod keys;
pub(crate) mod lines;

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_user_scope::{
    Fallback, Principal, Rejection, UserContext, UserScopeExt, UserScopeLayer,
    clock::{Clock, SystemClock},
    middleware::BodyError,
    rejection::RejectionKind,
    strategy::{BoxStrategy, InvalidErrorKind, UnavailableErrorKind},
    testing::Recorder,
};

/// What a request was answered with, and what the inner service saw of it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) outcome: Result<UserContext, Rejection>,
    /// The headers that the inner service saw.
    pub(crate) seen: Option<HeaderMap>,
}

/// The answer as a value for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    User(String),
    /// The fallback acted.
    Visitor,
    Nobody,
    /// A credential that no strategy took.
    NotAccepted,
    Refused(InvalidErrorKind),
    /// Two strategies found different users.
    Conflict,
    Unavailable,
    TimedOut,
    Forbidden,
}

impl Came {
    pub(crate) fn alice() -> Self {
        Self::User("alice".to_owned())
    }
}

impl Answer {
    pub(crate) fn came(&self) -> Came {
        let rejection = match &self.outcome {
            Ok(context) => {
                return match context.principal() {
                    Principal::User(user) => Came::User(user.to_string()),
                    _ => Came::Visitor,
                };
            }
            Err(rejection) => rejection,
        };
        match rejection.kind() {
            RejectionKind::NoCredential => Came::Nobody,
            RejectionKind::NotAccepted { .. } => Came::NotAccepted,
            RejectionKind::Invalid { invalid, .. } => Came::Refused(invalid.kind()),
            RejectionKind::Conflict { .. } => Came::Conflict,
            RejectionKind::Forbidden { .. } => Came::Forbidden,
            RejectionKind::Unavailable { unavailable, .. } => match unavailable.kind() {
                UnavailableErrorKind::TimedOut { .. } => Came::TimedOut,
                _ => Came::Unavailable,
            },
            other => panic!("refused for another reason: {other}"),
        }
    }

    /// The reason of an invalid credential.
    pub(crate) fn reason<E: Error + Clone + 'static>(&self) -> E {
        let Err(rejection) = &self.outcome else {
            panic!("it was accepted");
        };
        let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
            panic!("{rejection}");
        };
        let source = invalid.source().and_then(|source| source.downcast_ref());
        source.cloned().expect("a reason of this type")
    }
}

/// A layer to configure.
pub(crate) struct Setup {
    pub(crate) strategies: Vec<BoxStrategy>,
    pub(crate) unanimous: bool,
    pub(crate) visitors: bool,
    pub(crate) recorder: Recorder,
}

impl Setup {
    pub(crate) fn new(strategies: impl IntoIterator<Item = BoxStrategy>) -> Self {
        Self {
            strategies: strategies.into_iter().collect(),
            unanimous: false,
            visitors: false,
            recorder: Recorder::new(),
        }
    }

    pub(crate) fn service(self) -> Asked {
        self.service_at(SystemClock)
    }

    pub(crate) fn service_at(self, clock: impl Clock + 'static) -> Asked {
        let builder = UserScopeLayer::builder()
            .strategies(self.strategies)
            .clock(clock)
            .observer(self.recorder.clone());
        let builder = if self.unanimous {
            builder.unanimous()
        } else {
            builder
        };
        let builder = if self.visitors {
            builder.fallback(Fallback::anonymous())
        } else {
            builder
        };
        let layer = builder
            .context_only()
            .build()
            .expect("a valid configuration");
        let inner = service_fn(async |request: Request<()>| {
            let (head, ()) = request.into_parts();
            let mut response = Response::new(http_body_util::Full::new(Bytes::new()));
            response.extensions_mut().insert(head);
            Ok::<_, Infallible>(response)
        });
        Asked {
            service: BoxCloneSyncService::new(
                layer
                    .layer(inner)
                    .map_response(|response| response.map(BodyExt::boxed_unsync)),
            ),
            recorder: self.recorder,
        }
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// A service behind a layer.
#[derive(Clone)]
pub(crate) struct Asked {
    service: BoxCloneSyncService<Request<()>, Response<Body>, Infallible>,
    pub(crate) recorder: Recorder,
}

impl Asked {
    pub(crate) async fn send(&self, request: Request<()>) -> Answer {
        let response = self.service.clone().oneshot(request).await;
        let (mut head, body) = response.expect("infallible").into_parts();
        let inner = head.extensions.remove::<Parts>();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.expect("infallible").to_bytes(),
            outcome: match &inner {
                Some(inner) => Ok(inner.user_context().expect("a context").clone()),
                None => Err(head.extensions.remove().expect("a reason")),
            },
            seen: inner.map(|inner| inner.headers),
        }
    }

    pub(crate) async fn came(&self, request: Request<()>) -> Came {
        self.send(request).await.came()
    }
}

/// A request with these headers.
pub(crate) fn request(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("valid headers")
}
