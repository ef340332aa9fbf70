//! A service with two bugs: it shows each order to everybody, and its cache of profiles has one place.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::get,
};
use serde_json::{Value, json};

type Answer = Result<Json<Value>, StatusCode>;

#[derive(Default)]
struct Shop {
    /// The bug: the profile of the first user.
    profile: OnceLock<Value>,
    visitors: Mutex<u64>,
}

pub(crate) fn app() -> Router {
    Router::new()
        .route("/me", get(me))
        .route("/orders/{id}", get(order))
        .route("/basket", get(basket).post(basket))
        .with_state(Arc::<Shop>::default())
}

fn user(headers: &HeaderMap) -> Result<&'static str, StatusCode> {
    match headers.get("authorization").map(HeaderValue::as_bytes) {
        Some(b"Bearer token-of-alice") => Ok("alice"),
        Some(b"Bearer token-of-bob") => Ok("bob"),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

async fn me(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> Answer {
    let name = user(&headers)?;
    let profile = || json!({ "name": name, "email": format!("{name}@example.com") });
    Ok(Json(shop.profile.get_or_init(profile).clone()))
}

/// Forgets to compare the owner.
async fn order(headers: HeaderMap, Path(id): Path<String>) -> Answer {
    user(&headers)?;
    match id.as_str() {
        "17" | "18" => Ok(Json(json!({ "id": id, "item": "tea" }))),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn basket(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> Answer {
    let name = user(&headers)?;
    let mut visitors = shop.visitors.lock().unwrap_or_else(PoisonError::into_inner);
    *visitors += 1;
    Ok(Json(
        json!({ "of": name, "items": ["tea"], "visitors": *visitors }),
    ))
}
