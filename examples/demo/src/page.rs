//! The page, and what its scripts ask for.

use std::sync::Arc;

use crate::{demo::Demo, scenarios::SCENARIOS};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};

const PAGE: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/demo.css");
const SCRIPT: &str = include_str!("../page/demo.js");
/// The plot of the guide on performance, in place of this line of the page.
const PLOT: &str = include_str!("../../../src/guide/performance.svg");
const PLOT_GOES_HERE: &str = "<!-- plot -->";
const BUTTONS_GO_HERE: &str = "<!-- buttons -->";

/// Nothing but what this server has: a page that shows attacks must not be open to one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The longest request that is explained.
const LONGEST_REQUEST: usize = 8 * 1024;

pub(crate) fn routes(demo: Arc<Demo>) -> Router {
    let feed = demo.feed().clone();
    Router::new()
        .route("/", get(async || typed("text/html; charset=utf-8", page())))
        .route(
            "/demo.css",
            get(async || typed("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/demo.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/events", get(async move || feed.events()))
        .route("/play/{scenario}", post(play))
        .route("/explain", post(explain))
        .layer(DefaultBodyLimit::max(LONGEST_REQUEST))
        .layer(middleware::map_response(protect))
        .with_state(demo)
}

fn typed(content_type: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], body)
}

fn page() -> String {
    let buttons: Vec<_> = SCENARIOS
        .iter()
        .map(|scenario| {
            format!(
                "<li><button type=\"button\" data-scenario=\"{}\" aria-pressed=\"false\">\
                 <b>{}</b> <span>{}</span></button></li>\n",
                scenario.name, scenario.title, scenario.says
            )
        })
        .collect();
    PAGE.replace(BUTTONS_GO_HERE, &buttons.concat())
        .replace(PLOT_GOES_HERE, PLOT)
}

async fn protect(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

async fn play(State(demo): State<Arc<Demo>>, Path(name): Path<String>) -> Response {
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match demo.play(scenario).await {
        Ok(both) => Json(both).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn explain(State(demo): State<Arc<Demo>>, request: String) -> Response {
    match demo.explain(&request).await {
        Ok(explanation) => explanation.into_response(),
        Err(why_not) => (StatusCode::BAD_REQUEST, why_not).into_response(),
    }
}
