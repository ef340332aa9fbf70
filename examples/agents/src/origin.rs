//! Refuses what other sites make a browser send.
//!
//! A cookie comes with each request of a browser, whichever page has made it. `SameSite=Strict` holds
//! it back from other sites, but not from other ports and subdomains, and a WebSocket's handshake is
//! not covered by CORS. So the browser's own words are compared as well. A program that is not a browser
//! sends neither header, and has nothing that somebody else could make it send.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    if is_of_another(request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

fn is_of_another(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin
        .as_ref()
        .and_then(Uri::authority)
        .map(Authority::as_str);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    origin.is_none() || origin != host
}
