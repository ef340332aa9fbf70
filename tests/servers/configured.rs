//! A layer by configuration: in a field, from a function, in two routers, on or off, and replaced
//! while the server runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tower_user_scope::{
    ConfigError, ExistingContext, Scoped, TrustedHeader, UserContext, UserScopeLayer,
    authorize::{ForbiddenError, Require},
    factory::BoxFactory,
    middleware::{BoxUserScopeLayer, ReloadLayer, RequireLayer},
    strategy::Strategy,
    testing::Recorder,
};

/// What a request's factory answers: whose it is.
struct Desk(String);

type Users = BoxUserScopeLayer<BoxFactory<Desk>>;

struct Settings {
    header: &'static str,
    enabled: bool,
    waits: bool,
}

impl Settings {
    const HEADER: Self = Self {
        header: "x-user-id",
        enabled: true,
        waits: false,
    };
}

/// The same type, whatever the configuration says.
fn users(settings: &Settings, recorder: &Recorder) -> Result<Users, ConfigError> {
    let name = |user: &UserContext| user.user_id().map_or_else(String::new, ToString::to_string);
    let header = TrustedHeader::new(settings.header).from_proxies(["127.0.0.0/8"])?;
    let builder = UserScopeLayer::builder()
        .observer(recorder.clone())
        .enabled(settings.enabled);
    if settings.waits {
        return builder
            .strategy(ExistingContext::new())
            .strategy(header)
            .authorize_async(|user, _| {
                let is_mallory = user.user_id().is_some_and(|user| user == "mallory");
                async move {
                    tokio::task::yield_now().await;
                    if is_mallory {
                        return Err(ForbiddenError::new("mallory").into());
                    }
                    Ok(())
                }
            })
            .factory_async(move |user: UserContext| async move {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(Desk(name(&user)))
            })
            .boxed()
            .build();
    }
    builder
        .strategies([header.boxed()])
        .factory(move |user| Desk(name(user)))
        .boxed()
        .build()
}

/// An application that keeps its layer in a field.
struct App {
    users: Users,
}

impl App {
    fn new(settings: &Settings) -> Self {
        let users = users(settings, &Recorder::new()).expect("good");
        Self { users }
    }

    fn router(&self) -> Router {
        routes().layer(self.users.clone())
    }
}

/// Handlers that say what they see.
fn routes() -> Router {
    Router::new()
        .route("/desk", get(async |desk: Scoped<Desk>| desk.0.clone()))
        .route(
            "/seen",
            get(async |user: Option<UserContext>, headers: HeaderMap| {
                let header = headers
                    .get("x-user-id")
                    .map(|id| id.to_str().unwrap_or("?"));
                format!("{} {header:?}", user.is_some())
            }),
        )
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    address
}

/// A keep-alive connection to a server.
struct Connection(http1::SendRequest<Empty<Bytes>>);

impl Connection {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn get(&mut self, path: &str, header: &str, user: &str) -> (StatusCode, String) {
        let request = Request::get(path)
            .header("host", "test")
            .header(header, user);
        let request = request.body(Empty::new()).expect("a request");
        self.0.ready().await.expect("open");
        let (head, body) = self
            .0
            .send_request(request)
            .await
            .expect("an answer")
            .into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, String::from_utf8(body.into()).expect("text"))
    }
}

/// What is answered to one request on a connection of its own.
async fn get_from(address: SocketAddr, path: &str, user: &str) -> (StatusCode, String) {
    Connection::to(address)
        .await
        .get(path, "x-user-id", user)
        .await
}

fn ok(text: &str) -> (StatusCode, String) {
    (StatusCode::OK, text.to_owned())
}

#[tokio::test]
async fn a_layer_in_a_field_serves_two_routers() {
    for waits in [false, true] {
        let app = App::new(&Settings {
            waits,
            ..Settings::HEADER
        });
        let nested = Router::new().nest("/api", app.router());
        let (one, two) = (serve(app.router()).await, serve(nested).await);
        for user in ["alice", "bob"] {
            assert_eq!(get_from(one, "/desk", user).await, ok(user));
            assert_eq!(get_from(two, "/api/desk", user).await, ok(user));
        }
        let (status, _) = get_from(one, "/desk", "undefined").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_layer_with_erased_types_refuses_as_one_with_them() {
    let app = App::new(&Settings {
        waits: true,
        ..Settings::HEADER
    });
    let (status, body) = get_from(serve(app.router()).await, "/desk", "mallory").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
}

#[tokio::test]
async fn a_layer_that_is_off_lets_requests_through_and_nobody_identify_himself() {
    let recorder = Recorder::new();
    let settings = Settings {
        enabled: false,
        ..Settings::HEADER
    };
    let off = users(&settings, &recorder).expect("good");
    let restricted = Router::new()
        .route("/restricted", get(async || "secret"))
        .layer(RequireLayer::new(Require::new().scope("read")));
    let address = serve(routes().merge(restricted).layer(off)).await;
    assert_eq!(get_from(address, "/seen", "alice").await, ok("false None"));
    for path in ["/desk", "/restricted"] {
        let (status, _) = get_from(address, path, "alice").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    let lines: Vec<_> = recorder.take().iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("removes x-user-id")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_layer_that_is_off_leaves_what_an_outer_layer_has_found() {
    let recorder = Recorder::new();
    let inner = users(
        &Settings {
            enabled: false,
            header: "x-other",
            ..Settings::HEADER
        },
        &recorder,
    );
    let outer = users(&Settings::HEADER, &recorder).expect("good");
    let router = routes().layer(inner.expect("good")).layer(outer);
    assert_eq!(
        get_from(serve(router).await, "/desk", "alice").await,
        ok("alice")
    );
}

#[tokio::test]
async fn a_layer_that_is_replaced_decides_the_next_request_of_an_open_connection() {
    let recorder = Recorder::new();
    let other = Settings {
        header: "x-other",
        waits: true,
        ..Settings::HEADER
    };
    let layer = ReloadLayer::new(users(&Settings::HEADER, &recorder).expect("good"));
    let address = serve(routes().layer(layer.clone())).await;
    let mut connection = Connection::to(address).await;
    for _ in 0..3 {
        assert_eq!(
            connection.get("/desk", "x-user-id", "alice").await,
            ok("alice")
        );
        let (status, _) = connection.get("/desk", "x-other", "alice").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);

        layer.reload(users(&other, &recorder).expect("good"));
        assert_eq!(connection.get("/desk", "x-other", "bob").await, ok("bob"));
        let (status, _) = connection.get("/desk", "x-user-id", "alice").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);

        let off = Settings {
            enabled: false,
            ..Settings::HEADER
        };
        layer.reload(users(&off, &recorder).expect("good"));
        assert_eq!(
            connection.get("/seen", "x-user-id", "alice").await,
            ok("false None")
        );
        layer.reload(users(&Settings::HEADER, &recorder).expect("good"));
    }
}

#[tokio::test]
async fn a_request_under_way_keeps_the_layer_that_it_began_with() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (notes, waits) = (Arc::clone(&entered), Arc::clone(&go_on));
    let router = Router::new().route(
        "/slow",
        get(async move |desk: Scoped<Desk>| {
            notes.notify_one();
            waits.notified().await;
            desk.0.clone()
        }),
    );
    let closed = Recorder::new();
    let layer = ReloadLayer::new(users(&Settings::HEADER, &closed).expect("good"));
    let address = serve(router.layer(layer.clone())).await;
    let slow = tokio::spawn(get_from(address, "/slow", "alice"));
    entered.notified().await;
    let off = Settings {
        enabled: false,
        ..Settings::HEADER
    };
    layer.reload(users(&off, &Recorder::new()).expect("good"));
    go_on.notify_one();
    assert_eq!(slow.await.expect("no panic"), ok("alice"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_meet_a_reload_belong_to_one_layer_or_the_other() {
    let recorder = Recorder::new();
    let other = Settings {
        waits: true,
        ..Settings::HEADER
    };
    let layer = ReloadLayer::new(users(&Settings::HEADER, &recorder).expect("good"));
    let address = serve(routes().layer(layer.clone())).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let clients = (0..8).map(|client| {
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            let user = format!("user-{client}");
            let mut connection = Connection::to(address).await;
            for _ in 0..100 {
                assert_eq!(connection.get("/desk", "x-user-id", &user).await, ok(&user));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients = tokio::spawn(join_all(clients));
    while answered.load(Ordering::Relaxed) < 800 {
        layer.reload(users(&other, &recorder).expect("good"));
        layer.reload(users(&Settings::HEADER, &recorder).expect("good"));
        tokio::task::yield_now().await;
        if clients.is_finished() {
            break;
        }
    }
    for client in clients.await.expect("no panic") {
        client.expect("no panic");
    }
}
