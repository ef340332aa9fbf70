//! B21, B27: sessions that tower-sessions itself writes, over HTTP, in memory, `SQLite`, Redis
//! and `PostgreSQL`.

use std::{env, fmt, net::SocketAddr};

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use tokio::{net::TcpListener, task::AbortHandle};
use tower_sessions::{
    Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore,
    cookie::{Key, SameSite},
    session::{Id, Record},
    session_store,
};
use tower_sessions_core_0_14 as core_0_14;
use tower_sessions_sqlx_store::{SqliteStore, sqlx::SqlitePool};
use tower_user_scope::{
    UserContext, UserScopeLayer,
    factory::ContextOnly,
    middleware::{Empty, Then},
    session::{FromSession, SessionCookie, TowerSessions014Store},
    strategy::Strategy,
};

use crate::support::{
    servers::{Server, postgres_store, redis_store, skip},
    soon,
    store::{Watched, record},
    verdict::{SID, ours},
};

/// The form in which tower-sessions writes the cookie.
#[derive(Clone, Copy, Debug)]
enum Seal {
    Plain,
    Signed,
    Private,
}

/// The application of the documentation, with a route for each way to read the session.
struct App {
    address: SocketAddr,
    task: AbortHandle,
}

impl App {
    async fn start<S: SessionStore + Clone>(store: S, seal: Seal) -> Self {
        let [key, stranger] = std::array::from_fn(|_| Key::generate());
        let cookie = SessionCookie::new(SID, store.clone());
        let (own, strange) = match seal {
            Seal::Plain => (cookie.clone(), cookie.signed(ours(&stranger))),
            Seal::Signed => (
                cookie.clone().signed(ours(&key)),
                cookie.signed(ours(&stranger)),
            ),
            Seal::Private => (
                cookie.clone().encrypted(ours(&key)),
                cookie.encrypted(ours(&stranger)),
            ),
        };
        let router = Router::new()
            .route("/cookie", get(me).layer(scope(own)))
            .route("/strange", get(me).layer(scope(strange)))
            .route("/session", get(me).layer(scope(FromSession::new())))
            .route("/visit", post(visit))
            .route("/login/{user}", post(log_in))
            .route("/logout", post(log_out));
        let sessions = SessionManagerLayer::new(store)
            .with_name(SID)
            .with_same_site(SameSite::Lax)
            .with_expiry(Expiry::OnInactivity(Duration::hours(2)));
        let router = match seal {
            Seal::Plain => router.layer(sessions),
            Seal::Signed => router.layer(sessions.with_signed(key)),
            Seal::Private => router.layer(sessions.with_private(key)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let served = async move { axum::serve(listener, router).await.expect("axum serves") };
        let task = tokio::spawn(served).abort_handle();
        Self { address, task }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn scope<S: Strategy>(strategy: S) -> UserScopeLayer<Then<Empty, S>, ContextOnly> {
    UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .expect("valid")
}

async fn me(context: UserContext) -> String {
    context
        .user_id()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn failed(error: impl fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

type Done = Result<(), (StatusCode, String)>;

async fn visit(session: Session) -> Done {
    session
        .insert("cart", json!(["book"]))
        .await
        .map_err(failed)
}

async fn log_in(session: Session, Path(user): Path<String>) -> Done {
    session.cycle_id().await.map_err(failed)?;
    session.insert("user_id", user).await.map_err(failed)
}

async fn log_out(session: Session) -> Done {
    session.flush().await.map_err(failed)
}

/// A browser that keeps one cookie.
struct Browser {
    http: reqwest::Client,
    address: SocketAddr,
    cookie: Option<String>,
}

impl Browser {
    fn of(app: &App) -> Self {
        Self {
            http: reqwest::Client::new(),
            address: app.address,
            cookie: None,
        }
    }

    /// Another browser with this one's cookie.
    fn stolen(&self) -> Self {
        Self {
            http: self.http.clone(),
            address: self.address,
            cookie: self.cookie.clone(),
        }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> (u16, String) {
        let request = match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        };
        let response = soon("the answer", request.send()).await.expect("an answer");
        let status = response.status().as_u16();
        for set in response.headers().get_all(SET_COOKIE) {
            let set = set.to_str().expect("a cookie");
            let (pair, attributes) = set.split_once(';').expect("attributes");
            self.cookie = if attributes.contains("Max-Age=0") {
                None
            } else {
                for needed in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
                    assert!(attributes.contains(needed), "{needed} in {set}");
                }
                Some(pair.to_owned())
            };
        }
        (
            status,
            soon("the body", response.text()).await.expect("a body"),
        )
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let request = self.http.get(format!("http://{}{path}", self.address));
        self.send(request).await
    }

    async fn post(&mut self, path: &str) {
        let request = self.http.post(format!("http://{}{path}", self.address));
        let (status, body) = self.send(request).await;
        assert_eq!(status, 200, "{path}: {body}");
    }

    async fn is(&mut self, user: &str) {
        for path in ["/cookie", "/session"] {
            let answer = self.get(path).await;
            assert_eq!(
                answer,
                (200, user.to_owned()),
                "{path} with {:?}",
                self.cookie
            );
        }
        let (status, _) = self.get("/strange").await;
        assert_eq!(status, 401, "a cookie that another key has to open");
    }

    async fn is_nobody(&mut self, why: &str) {
        for path in ["/cookie", "/session"] {
            let (status, body) = self.get(path).await;
            assert_eq!(status, 401, "{path}, {why}: {body}");
        }
    }
}

async fn what_tower_sessions_writes_is_read<S: SessionStore + Clone>(store: S) {
    for seal in [Seal::Plain, Seal::Signed, Seal::Private] {
        let watched = Watched::new(store.clone());
        let app = App::start(watched.clone(), seal).await;
        let (mut alice, mut bob) = (Browser::of(&app), Browser::of(&app));
        alice.is_nobody("before the first visit").await;
        assert_eq!(watched.loads(), 0, "{seal:?}: nothing to look up");

        alice.post("/visit").await;
        alice.is_nobody("a visitor").await;
        let mut planted = alice.stolen();
        alice.post("/login/alice").await;
        bob.post("/login/bob").await;
        assert_ne!(alice.cookie, planted.cookie, "{seal:?}: a new id at login");
        alice.is("alice").await;
        bob.is("bob").await;

        let before = watched.loads();
        let answer = alice.get("/cookie").await;
        assert_eq!(answer, (200, "alice".to_owned()));
        assert_eq!(
            watched.loads() - before,
            1,
            "{seal:?}: one look-up a request"
        );

        planted.is_nobody("with the id from before the login").await;
        assert_eq!(
            planted.cookie, None,
            "{seal:?}: the stale cookie is taken back"
        );

        let mut stolen = alice.stolen();
        alice.post("/logout").await;
        assert_eq!(
            alice.cookie, None,
            "{seal:?}: the cookie goes with the session"
        );
        stolen.is_nobody("after the logout").await;
        bob.is("bob").await;
    }
}

async fn a_store_keeps_its_contract<S: SessionStore>(store: S) {
    let data = [
        ("user_id", json!("alice")),
        (
            "nested",
            json!({"list": [1, -2, 3.5], "none": null, "text": "é"}),
        ),
    ];
    let mut first = record(Id::default(), data);
    store.create(&mut first).await.expect("created");
    assert_eq!(
        store.load(&first.id).await.expect("loaded"),
        Some(first.clone())
    );

    let mut second = Record {
        data: record(first.id, [("user_id", json!("bob"))]).data,
        ..first.clone()
    };
    match store.create(&mut second).await {
        Ok(()) => {
            assert_ne!(
                second.id, first.id,
                "an id that is taken is given to nobody"
            );
            let kept = store.load(&second.id).await.expect("loaded");
            assert_eq!(kept, Some(second));
        }
        // tower-sessions-redis-store 0.16 can't read Redis' answer to a taken id.
        Err(error) => assert!(error.to_string().contains("bool"), "{error}"),
    }
    let kept = store.load(&first.id).await.expect("loaded");
    assert_eq!(kept.as_ref(), Some(&first), "the session whose id it was");

    first.data.insert("user_id".to_owned(), json!("carol"));
    store.save(&first).await.expect("saved");
    assert_eq!(
        store.load(&first.id).await.expect("loaded"),
        Some(first.clone())
    );

    store.delete(&first.id).await.expect("deleted");
    assert_eq!(store.load(&first.id).await.expect("asked"), None);
    assert_eq!(store.load(&Id(7)).await.expect("asked"), None);

    let mut ended = record(Id::default(), []);
    store.create(&mut ended).await.expect("created");
    ended.expiry_date = OffsetDateTime::now_utc() - Duration::HOUR;
    store.save(&ended).await.expect("saved");
    let kept = store.load(&ended.id).await.expect("asked");
    assert_eq!(kept, None, "an expired session");
}

/// A session that a 0.14 store wrote by itself is the same session through the wrapper.
async fn services_of_both_versions_share_a_store<S: core_0_14::SessionStore + Clone>(store: S) {
    let mut old = core_0_14::session::Record {
        id: core_0_14::session::Id::default(),
        data: [("user_id".to_owned(), json!("alice"))].into(),
        expiry_date: OffsetDateTime::now_utc() + Duration::HOUR,
    };
    store.create(&mut old).await.expect("created");
    let app = App::start(TowerSessions014Store::new(store.clone()), Seal::Plain).await;
    let mut browser = Browser::of(&app);
    browser.cookie = Some(format!("{SID}={}", old.id));
    browser.is("alice").await;

    let mut new = record(Id::default(), [("user_id", json!("bob"))]);
    let wrapped = TowerSessions014Store::new(store);
    wrapped.create(&mut new).await.expect("created");
    let id = core_0_14::session::Id(new.id.0);
    let read = wrapped
        .get_ref()
        .load(&id)
        .await
        .expect("loaded")
        .expect("kept");
    assert_eq!((read.data, read.expiry_date), (new.data, new.expiry_date));
}

async fn everything_holds<S: core_0_14::SessionStore + Clone>(store: S) {
    a_store_keeps_its_contract(TowerSessions014Store::new(store.clone())).await;
    services_of_both_versions_share_a_store(store.clone()).await;
    what_tower_sessions_writes_is_read(TowerSessions014Store::new(store)).await;
}

#[tokio::test]
async fn sessions_in_memory() {
    what_tower_sessions_writes_is_read(MemoryStore::default()).await;
}

#[tokio::test]
async fn sessions_in_sqlite() {
    let pool = SqlitePool::connect("sqlite::memory:")
        .await
        .expect("in memory");
    let store = SqliteStore::new(pool);
    store.migrate().await.expect("the table is made");
    everything_holds(store).await;
}

#[tokio::test]
async fn sessions_in_redis() {
    let server = Server::redis();
    let own = server.as_ref().map(Server::url);
    let Some(url) = own.or_else(|| env::var("REDIS_URL").ok()) else {
        return skip("sessions_in_redis", "redis-server");
    };
    everything_holds(soon("Redis is up", redis_store(&url)).await).await;
}

#[tokio::test]
async fn sessions_in_postgres() {
    let server = Server::postgres();
    let own = server.as_ref().map(Server::url);
    let Some(url) = own.or_else(|| env::var("DATABASE_URL").ok()) else {
        return skip("sessions_in_postgres", "PostgreSQL");
    };
    everything_holds(soon("PostgreSQL is up", postgres_store(&url)).await).await;
}

/// A store of 0.14 that returns each of its errors.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Encode,
    Decode,
    Backend,
}

impl Failing {
    fn error<T>(self) -> core_0_14::session_store::Result<T> {
        use core_0_14::session_store::Error;
        let why = "why".to_owned();
        Err(match self {
            Self::Encode => Error::Encode(why),
            Self::Decode => Error::Decode(why),
            Self::Backend => Error::Backend(why),
        })
    }
}

#[async_trait::async_trait]
impl core_0_14::SessionStore for Failing {
    async fn create(
        &self,
        _: &mut core_0_14::session::Record,
    ) -> core_0_14::session_store::Result<()> {
        self.error()
    }

    async fn save(&self, _: &core_0_14::session::Record) -> core_0_14::session_store::Result<()> {
        self.error()
    }

    async fn load(
        &self,
        _: &core_0_14::session::Id,
    ) -> core_0_14::session_store::Result<Option<core_0_14::session::Record>> {
        self.error()
    }

    async fn delete(&self, _: &core_0_14::session::Id) -> core_0_14::session_store::Result<()> {
        self.error()
    }
}

#[tokio::test]
async fn errors_of_an_older_store_keep_their_kind_and_change_no_record() {
    use session_store::Error;
    let table = [
        (Failing::Encode, Error::Encode("why".to_owned())),
        (Failing::Decode, Error::Decode("why".to_owned())),
        (Failing::Backend, Error::Backend("why".to_owned())),
    ];
    for (failing, expected) in table {
        let store = TowerSessions014Store::new(failing);
        let mut session = record(Id(7), [("user_id", json!("alice"))]);
        let before = session.clone();
        let errors = [
            store.create(&mut session).await.err(),
            store.save(&session).await.err(),
            store.load(&session.id).await.err(),
            store.delete(&session.id).await.err(),
        ];
        for error in errors {
            let error = error.expect("the store fails");
            assert_eq!(format!("{error:?}"), format!("{expected:?}"));
        }
        assert_eq!(
            session, before,
            "a record that was not created stays as it was"
        );
        assert!(matches!(
            (failing, store.into_inner()),
            (Failing::Encode, Failing::Encode)
                | (Failing::Decode, Failing::Decode)
                | (Failing::Backend, Failing::Backend)
        ));
    }
}
