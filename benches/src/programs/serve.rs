//! A server for a load generator: `serve none`, `serve identity` (a layer that does nothing),
//! `serve by_hand` or `serve scope`.
//!
//! It listens on a free port of 127.0.0.1, prints the address and serves until its input ends.
//! One thread serves, so that it can be pinned to a core. What it serves is the same in all of them: `ok`, after a look at the user where there is one.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use crate::{
    by_hand::{self, HandFactory},
    ours::{Factory, make},
    requests::USER,
};
use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use tower_user_scope::{PeerAddr, Scoped, TrustedHeader, UserScopeLayer};

fn scope() -> Router {
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new(USER)
                .from_proxies(["127.0.0.0/8"])
                .expect("a network"),
        )
        .factory(make)
        .build()
        .expect("a valid layer");
    let handler = async |factory: Scoped<Factory>| {
        std::hint::black_box(factory.user.user_id());
        "ok"
    };
    Router::new().route("/", get(handler)).layer(layer)
}

fn by_hand() -> Router {
    let handler = async |request: Request| {
        let factory = request.extensions().get::<Arc<HandFactory>>();
        std::hint::black_box(factory.map(|factory| &*factory.context.user_id));
        "ok"
    };
    let resolve = async |request: Request, next: Next| -> Response {
        let (mut head, body) = request.into_parts();
        // By hand, the trusted network is 10.0.0.0/8; the proxy's address is as good as any.
        if let Some(ConnectInfo(address)) = head.extensions.get::<ConnectInfo<SocketAddr>>() {
            let proxied = SocketAddr::from(([10, 0, 0, 1], address.port()));
            head.extensions.insert(PeerAddr(proxied));
        }
        match by_hand::resolve(&mut head) {
            Ok(()) => next.run(Request::from_parts(head, body)).await,
            Err(status) => status.into_response(),
        }
    };
    Router::new()
        .route("/", get(handler))
        .layer(middleware::from_fn(resolve))
}

fn none() -> Router {
    Router::new().route("/", get(async || "ok"))
}

/// Serves until its input ends.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let router = match arguments.first().map(String::as_str) {
        Some("none") => none(),
        Some("identity") => {
            none().layer(tower_layer::layer_fn(|inner: axum::routing::Route| inner))
        }
        Some("by_hand") => by_hand(),
        Some("scope") => scope(),
        _ => {
            eprintln!("serve none | identity | by_hand | scope");
            return ExitCode::FAILURE;
        }
    };
    match serve(router) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(router: Router) -> std::io::Result<()> {
    let router = router.fallback(async || StatusCode::NOT_FOUND);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    runtime.spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await
    });
    // Whoever started this closes its end.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}
