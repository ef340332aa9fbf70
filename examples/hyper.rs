//! A plain hyper server: no framework, and the peer's address inserted by hand.
//!
//! hyper tells nobody who is at the other end of a connection. The accept loop does know it, and
//! puts a `PeerAddr` into each request; without one, no header is believed by address.

mod support;

use std::error::Error;

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::add_extension::AddExtensionLayer;
use tower_user_scope::{
    Fallback, MissingScopeError, PeerAddr, Principal, TrustedHeader, UserContext, UserScopeExt,
    UserScopeLayer,
};

use self::support::{Case, PROXY_SECRET, serve_and_ask};

/// What each request gets.
struct Greeter {
    user: UserContext,
}

impl Greeter {
    fn greet(&self) -> String {
        match self.user.principal() {
            Principal::User(id) => format!("hello, {id}"),
            Principal::Service(name) => format!("hello, service {name}"),
            _ => "hello, whoever you are".to_owned(),
        }
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, MissingScopeError> {
    let greeting = request.scoped::<Greeter>()?.greet();
    Ok(Response::new(Full::from(greeting)))
}

/// Takes connections and serves each on a task of its own.
async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let user_scope = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-proxy-secret", PROXY_SECRET),
        )
        .fallback(Fallback::anonymous().only_if(|head| head.uri.path() == "/public"))
        .factory(|user| Greeter { user: user.clone() })
        .build()?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            .layer(AddExtensionLayer::new(PeerAddr(peer)))
            .layer(&user_scope)
            .service_fn(handle);
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            if let Err(error) = connection.await {
                eprintln!("connection from {peer}: {error}");
            }
        });
    }
}

const CASES: &[Case<'_>] = &[
    Case::get(
        "alice, in the proxy's header",
        "/",
        &[("x-user-id", "alice")],
        Ok("hello, alice"),
    ),
    Case::get(
        "alice's header and bob's",
        "/",
        &[("x-user-id", "alice"), ("x-user-id", "bob")],
        Err(StatusCode::BAD_REQUEST),
    ),
    Case::get("nobody", "/", &[], Err(StatusCode::UNAUTHORIZED)),
    Case::get(
        "nobody, on /public",
        "/public",
        &[],
        Ok("hello, whoever you are"),
    ),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve_and_ask(address, serve(listener), CASES).await
}
