//! B56 over a socket: a client sends a fresh token of its user, and the WebSocket outlives the first one.

use std::time::{Duration, SystemTime};

use axum::{
    Router,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use futures::{SinkExt, StreamExt};
use http::{Request, header, request::Parts};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, client::IntoClientRequest},
};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Scoped, UserContext, UserId, UserScopeLayer, clock::Clock,
    factory::BoxFactory, from_fn, middleware::BoxUserScopeLayer, scope::InstrumentScope,
    testing::TestClock,
};

use crate::support::soon;

const MINUTE: Duration = Duration::from_secs(60);

/// The factory: its handle keeps the scope of a socket open.
struct Owner;

type Users = BoxUserScopeLayer<BoxFactory<Owner>>;

/// Reads `Bearer <user> <minutes>`: so long after `start` the token ends.
fn token(start: SystemTime) -> impl Fn(&Parts) -> Outcome + Send + Sync {
    move |head| {
        let value = head.headers.get(header::AUTHORIZATION);
        let Some(value) = value.and_then(|value| value.to_str().ok()) else {
            return Outcome::Absent;
        };
        let mut words = value.split(' ').skip(1);
        let (user, minutes) = (words.next(), words.next());
        let user: UserId = user.expect("a user").parse().expect("an id");
        let minutes: u32 = minutes.expect("a time").parse().expect("a number");
        Identity::proved(user)
            .with_expires_at(start + minutes * MINUTE)
            .into()
    }
}

/// As in the guide: answers `renew <token>`, and echoes the rest, until the scope ends.
async fn serve(mut socket: WebSocket, users: Users, mut user: UserContext, _owner: Scoped<Owner>) {
    let mut ended = Box::pin(user.ended());
    loop {
        let message = tokio::select! {
            reason = &mut ended => {
                let close = CloseFrame { code: 4401, reason: reason.as_str().into() };
                let _ = socket.send(Message::Close(Some(close))).await;
                return;
            }
            message = socket.recv() => message,
        };
        let Some(Ok(message)) = message else { return };
        let Message::Text(text) = message else {
            continue;
        };
        let answer = match text.strip_prefix("renew ") {
            None => text.to_string(),
            Some(token) => {
                let head = Request::builder()
                    .header(header::AUTHORIZATION, format!("Bearer {token}"))
                    .body(())
                    .expect("a head");
                match users.renew_identity(&user, head.into_parts().0).await {
                    Ok(fresh) => {
                        user = fresh;
                        "renewed".to_owned()
                    }
                    Err(refused) => format!("refused: {}", refused.status().as_u16()),
                }
            }
        };
        if socket.send(Message::text(answer)).await.is_err() {
            return;
        }
    }
}

async fn open(
    upgrade: WebSocketUpgrade,
    State(users): State<Users>,
    context: UserContext,
    owner: Scoped<Owner>,
) -> Response {
    upgrade.on_upgrade(|socket| serve(socket, users, context.clone(), owner).in_scope(context))
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(address: std::net::SocketAddr, token: &str) -> Self {
        let mut request = format!("ws://{address}/socket")
            .into_client_request()
            .expect("a URL");
        let value = format!("Bearer {token}").parse().expect("a value");
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let (socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .expect("a socket");
        Self(socket)
    }

    async fn next(&mut self) -> tungstenite::Message {
        let message = soon("a message", self.0.next()).await;
        message.expect("a message").expect("no error")
    }

    async fn ask(&mut self, text: &str) -> String {
        let message = tungstenite::Message::text(text);
        self.0.send(message).await.expect("it is open");
        self.next().await.into_text().expect("text").to_string()
    }

    /// Asserts that the server closes the socket now.
    async fn assert_closed(mut self) {
        let message = self.next().await;
        let tungstenite::Message::Close(Some(close)) = message else {
            panic!("{message:?}");
        };
        let code = u16::from(close.code);
        assert_eq!((code, close.reason.as_str()), (4401, "expired"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b56_a_websocket_is_renewed_by_its_own_user_and_by_nobody_else() {
    let clock = TestClock::now();
    let source = CredentialSource::only_header(header::AUTHORIZATION);
    let users: Users = UserScopeLayer::builder()
        .strategy(from_fn(source, token(clock.now())))
        .clock(clock.clone())
        .end_scopes_at_expiry()
        .factory(|_: &UserContext| Owner)
        .boxed()
        .build()
        .expect("a valid configuration");
    let app = Router::new()
        .route("/socket", any(open))
        .layer(users.clone())
        .with_state(users);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut alice = Client::connect(address, "alice 1").await;
    let mut bob = Client::connect(address, "bob 1").await;
    assert_eq!(alice.ask("renew bob 3").await, "refused: 403");
    assert_eq!(alice.ask("renew alice 3").await, "renewed");
    assert_eq!(bob.ask("renew alice 3").await, "refused: 403");

    clock.advance(MINUTE);
    bob.assert_closed().await;
    assert_eq!(alice.ask("hello").await, "hello");
    // Once more, from what it was renewed to.
    assert_eq!(alice.ask("renew alice 4").await, "renewed");
    clock.advance(2 * MINUTE);
    assert_eq!(alice.ask("hello").await, "hello");
    clock.advance(MINUTE);
    alice.assert_closed().await;
}
