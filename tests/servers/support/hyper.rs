//! Plain hyper: the accept loop inserts the peer's address into each request.

use std::sync::Arc;

use ::hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    server::conn::{http1, http2},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use prost::Message;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::add_extension::AddExtensionLayer;
use tower_user_scope::{MissingScopeError, PeerAddr, UserScopeExt};

use super::app::{self, Desk, Office, Rules};

#[derive(Clone, Copy)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) async fn serve(
    listener: TcpListener,
    version: Version,
    rules: Rules,
    office: Arc<Office>,
) {
    let layer = app::layer(&rules, &office);
    loop {
        let (stream, peer) = listener.accept().await.expect("a connection");
        let stream = TokioIo::new(stream);
        let service = ServiceBuilder::new()
            .layer(AddExtensionLayer::new(PeerAddr(peer)))
            .map_request(app::outer::<Incoming>)
            .layer(&layer)
            .service_fn(handle);
        let service = TowerToHyperService::new(service);
        tokio::spawn(async move {
            // Errors of a connection are reported to its client.
            let _ = match version {
                Version::Http1 => {
                    http1::Builder::new()
                        .serve_connection(stream, service)
                        .await
                }
                Version::Http2 => {
                    http2::Builder::new(TokioExecutor::new())
                        .serve_connection(stream, service)
                        .await
                }
            };
        });
    }
}

/// The handler of plain hyper and of the stack without a server.
pub(super) async fn handle<B>(
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, MissingScopeError>
where
    B: Body<Error: std::fmt::Debug>,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("the body of the request");
    let length = body.to_bytes().len();
    let seen = app::look(
        head.scoped::<Desk>()?,
        head.user_context()?,
        &head.headers,
        length,
    );
    Ok(Response::new(Full::from(seen.await.encode_to_vec())))
}
