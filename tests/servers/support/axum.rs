//! axum's own `serve`, with the handler in axum's usual form.

use std::{net::SocketAddr, sync::Arc};

use ::axum::{
    Router,
    body::{Body, Bytes},
    http::HeaderMap,
    routing::any,
};
use prost::Message;
use tokio::net::TcpListener;
use tower::util::MapRequestLayer;
use tower_user_scope::{Scoped, UserContext};

use super::app::{self, Desk, Office, Rules};

pub(super) async fn serve(listener: TcpListener, rules: Rules, office: Arc<Office>) {
    let router = Router::new()
        .route("/", any(handle))
        .layer(app::layer(&rules, &office))
        .layer(MapRequestLayer::new(app::outer::<Body>));
    // The address of the peer identifies a proxy.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    ::axum::serve(listener, service).await.expect("axum serves");
}

async fn handle(
    desk: Scoped<Desk>,
    context: UserContext,
    headers: HeaderMap,
    body: Bytes,
) -> Vec<u8> {
    app::look(&desk, &context, &headers, body.len())
        .await
        .encode_to_vec()
}
