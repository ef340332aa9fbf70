//! The page: one HTML file, one script, one style sheet. It is open to everybody, and shows a form to
//! log in until the API answers.

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};

const PAGE: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/agents.css");
const SCRIPT: &str = include_str!("../page/agents.js");

/// Nothing but what this server has, so that what users write can't become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(async || typed("text/html; charset=utf-8", PAGE)))
        .route(
            "/agents.css",
            get(async || typed("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/agents.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
        .layer(map_response(protect))
}

fn typed(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], body)
}

async fn protect(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
