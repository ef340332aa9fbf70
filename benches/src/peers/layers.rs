//! Middleware that puts something into the extensions, and proves nothing.

use axum::{body::Body, extract::Request as AxumRequest, middleware::Next};
use http::{HeaderMap, Request, Response, StatusCode};
use tower_http::{
    add_extension::AddExtensionLayer, auth::AsyncRequireAuthorizationLayer,
    validate_request::ValidateRequestHeaderLayer,
};
use tower_layer::Layer;

use crate::{case::Case, inner::Inner, requests};

/// What they insert.
#[derive(Clone)]
struct Id(#[expect(dead_code, reason = "it is inserted, and nobody asks")] String);

fn id(headers: &HeaderMap) -> Option<Id> {
    let value = headers.get(requests::USER)?;
    Some(Id(value.to_str().ok()?.to_owned()))
}

fn unauthorized<B: Default>() -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

/// tower-http: one value for all requests.
#[must_use]
pub fn add_extension() -> Case {
    let layer = AddExtensionLayer::new(7_u64);
    Case::new(
        layer.layer(Inner::<()>::new()),
        requests::same(requests::with_user()),
    )
}

/// tower-http: a look at the header, the id inserted.
#[must_use]
pub fn validate_request_header() -> Case {
    let layer = ValidateRequestHeaderLayer::custom(|request: &mut Request<()>| {
        let id = id(request.headers()).ok_or_else(unauthorized::<()>)?;
        request.extensions_mut().insert(id);
        Ok(())
    });
    Case::new(
        layer.layer(Inner::<()>::new()),
        requests::same(requests::with_user()),
    )
}

/// tower-http: the same, async.
#[must_use]
pub fn async_require_authorization() -> Case {
    let layer = AsyncRequireAuthorizationLayer::new(|mut request: Request<()>| async move {
        let id = id(request.headers()).ok_or_else(unauthorized::<()>)?;
        request.extensions_mut().insert(id);
        Ok::<_, Response<()>>(request)
    });
    Case::new(
        layer.layer(Inner::<()>::new()),
        requests::same(requests::with_user()),
    )
}

/// axum: the same, as a function.
#[must_use]
pub fn axum_from_fn() -> Case {
    let layer = axum::middleware::from_fn(|mut request: AxumRequest, next: Next| async move {
        match id(request.headers()) {
            Some(id) => {
                request.extensions_mut().insert(id);
                next.run(request).await
            }
            None => unauthorized(),
        }
    });
    let mut next = requests::same(requests::with_user());
    Case::new(layer.layer(Inner::<Body>::new()), move || {
        next().map(|()| Body::empty())
    })
}
