//! The practical limit: what a careful programmer writes into the service, and no more.
//!
//! It checks that the connection comes from the proxy's network (10.0.0.0/8), that the header is
//! there once, is no list, is not empty, is of at most 256 bytes and visible ASCII; it builds one
//! context and one factory and inserts both. A header that is bad or comes from elsewhere is
//! refused with 400 or 401. All of that is fixed at compile time.
//!
//! What it leaves out, and the layer does: names that an upstream would take for the header,
//! placeholders such as `undefined`, correlation ids, the audit event and the span, the scope
//! that lasts as long as the response's body and the check at each access.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, request::Parts};
use tower::Service;
use tower_user_scope::PeerAddr;

use crate::requests::USER;

/// Who asks.
#[derive(Clone)]
pub struct HandContext {
    /// The user's id.
    pub user_id: Arc<str>,
}

/// What the handler gets.
pub struct HandFactory {
    /// Whose it is.
    pub context: HandContext,
}

/// Does the work of the layer inline.
#[derive(Clone)]
pub struct ByHand<S>(pub S);

impl<S, B, R> Service<Request<B>> for ByHand<S>
where
    S: Service<
            Request<B>,
            Response = Response<R>,
            Error = Infallible,
            Future = Ready<Result<Response<R>, Infallible>>,
        >,
    R: Default,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Ready<Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match resolve(&mut head) {
            Ok(()) => self.0.call(Request::from_parts(head, body)),
            Err(status) => {
                let mut response = Response::new(R::default());
                *response.status_mut() = status;
                ready(Ok(response))
            }
        }
    }
}

/// The same, for whoever has the head at hand.
///
/// # Errors
/// The status of the refusal.
pub fn resolve(head: &mut Parts) -> Result<(), StatusCode> {
    let context = resolve_with(head)?;
    insert(head, context);
    Ok(())
}

/// Who asks, by the header.
///
/// # Errors
/// The status of the refusal.
pub fn resolve_with(head: &Parts) -> Result<HandContext, StatusCode> {
    let from_proxy =
        head.extensions
            .get::<PeerAddr>()
            .is_some_and(|PeerAddr(address)| match address.ip() {
                IpAddr::V4(ip) => ip.octets()[0] == 10,
                IpAddr::V6(_) => false,
            });
    let user_id = user_id(head)?;
    if !from_proxy {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(HandContext { user_id })
}

fn user_id(head: &Parts) -> Result<Arc<str>, StatusCode> {
    let mut values = head.headers.get_all(&USER).iter();
    let value = values.next().ok_or(StatusCode::UNAUTHORIZED)?;
    if values.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let bytes = value.as_bytes();
    let good = (1..=256).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b',');
    match std::str::from_utf8(bytes) {
        Ok(text) if good => Ok(Arc::from(text)),
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

fn insert(head: &mut Parts, context: HandContext) {
    let factory = HandFactory {
        context: context.clone(),
    };
    head.extensions.insert(context);
    head.extensions.insert(Arc::new(factory));
}
