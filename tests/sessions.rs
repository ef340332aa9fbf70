//! Session cookies: whose session it is, and what is refused before and after the look-up.

use std::{
    convert::Infallible,
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cookie::{Cookie, CookieJar, Key};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_sessions::{
    MemoryStore, Session, SessionManagerLayer, SessionStore,
    session::{Id, Record},
    session_store,
};
use tower_user_scope::{
    ConfigError, Evidence, Fallback, FromSession, Identity, InvalidReason, Reason, Rejection,
    SessionCookie, SessionProblem, Strategy, TenantId, UserContext, UserId, UserScopeLayer,
};

type Answered = Result<UserContext, Rejection>;

async fn answer(request: Request<()>) -> Result<Response<HeaderMap>, Infallible> {
    let (head, ()) = request.into_parts();
    let mut response = Response::new(head.headers.clone());
    response.extensions_mut().insert(head.headers);
    if let Some(context) = head.extensions.get::<UserContext>() {
        response.extensions_mut().insert(context.clone());
    }
    Ok(response)
}

/// What the layer makes of a request, with a fallback for those who sent nothing.
async fn send<T>(strategy: T, request: Request<()>) -> Answered
where
    T: Strategy,
{
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("the configuration is good");
    let response = layer.layer(service_fn(answer)).oneshot(request).await;
    seen(response.expect("infallible"))
}

fn seen<B>(mut response: Response<B>) -> Answered {
    let extensions = response.extensions_mut();
    match extensions.remove::<Rejection>() {
        Some(rejection) => Err(rejection),
        None => Ok(extensions.remove().expect("a context or a reason")),
    }
}

fn with_cookies(cookies: impl AsRef<[u8]>) -> Request<()> {
    let mut request = Request::new(());
    let value = HeaderValue::from_bytes(cookies.as_ref()).expect("a header value");
    request.headers_mut().insert(header::COOKIE, value);
    request
}

/// In a word: a user's id, `anonymous` by the session or by the fallback, or the problem.
fn said(answer: &Answered) -> String {
    match answer {
        Ok(context) => match (context.user_id(), context.evidence()) {
            (Some(user), _) => user.to_string(),
            (None, evidence) if evidence.is_fallback() => "fallback".to_owned(),
            (None, _) => format!("{:?}", context.principal()),
        },
        Err(rejection) => match rejection.reason() {
            Reason::Invalid { invalid, .. } => invalid
                .source()
                .and_then(|source| source.downcast_ref::<SessionProblem>())
                .map_or_else(|| invalid.to_string(), |problem| format!("{problem:?}")),
            Reason::NotBelieved { .. } => "NotBelieved".to_owned(),
            Reason::Unavailable { .. } => "Unavailable".to_owned(),
            other => other.to_string(),
        },
    }
}

fn key_of_a_test() -> Key {
    Key::from(&(0..64).collect::<Vec<u8>>())
}

async fn stored(store: &impl SessionStore, data: Value) -> Id {
    let Value::Object(data) = data else {
        panic!("a session holds an object");
    };
    let mut record = Record {
        id: Id::default(),
        data: data.into_iter().collect(),
        expiry_date: (SystemTime::now() + Duration::from_secs(3_600)).into(),
    };
    store.create(&mut record).await.expect("it can be stored");
    record.id
}

/// A store that counts, waits, fails or returns what it was not asked for.
#[derive(Clone, Debug, Default)]
struct Odd {
    inner: MemoryStore,
    loads: Arc<AtomicUsize>,
    wait: Option<Arc<Semaphore>>,
    fails: bool,
    returns: Option<Record>,
}

#[async_trait]
impl SessionStore for Odd {
    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.inner.save(record).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if let Some(wait) = &self.wait {
            let _permit = wait.acquire().await;
        }
        if self.fails {
            return Err(session_store::Error::Backend("it is down".to_owned()));
        }
        match &self.returns {
            Some(record) => Ok(Some(record.clone())),
            None => self.inner.load(id).await,
        }
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.inner.delete(id).await
    }
}

#[tokio::test]
async fn cookies_get_the_answers_of_this_table() {
    let store = Odd::default();
    let alice = stored(&store, json!({"user_id": "alice"})).await;
    let bob = stored(&store, json!({"user_id": "bob"})).await;
    let cart = stored(&store, json!({"cart": [1]})).await;
    let out = stored(&store, json!({"user_id": null})).await;
    let number = stored(&store, json!({"user_id": 7})).await;
    let nothing = stored(&store, json!({"user_id": "undefined"})).await;
    let unknown = Id::default();
    let repeated = InvalidReason::Repeated.to_string();
    let long = "A".repeat(5_000);
    let cases: Vec<(String, &str, usize)> = vec![
        (format!("sid={alice}"), "alice", 1),
        (format!("a=b; sid={alice}; c=d"), "alice", 1),
        (format!("sid={alice};"), "alice", 1),
        (format!("xsid={bob}; sid={alice}; sidx={bob}"), "alice", 1),
        ("a=b".to_owned(), "fallback", 0),
        (String::new(), "fallback", 0),
        ("sid".to_owned(), "fallback", 0),
        (format!("sid={alice}; sid={bob}"), &repeated, 0),
        (format!("sid={alice}; sid={alice}"), &repeated, 0),
        (format!("sid={alice}; SID={bob}"), &repeated, 0),
        ("sid=".to_owned(), "Malformed", 0),
        ("sid=alice".to_owned(), "Malformed", 0),
        (format!("sid={alice}A"), "Malformed", 0),
        (format!("sid=\"{alice}\""), "Malformed", 0),
        (format!("sid={long}"), "TooLong { len: 5000, max: 256 }", 0),
        ("sid=../../etc/passwd".to_owned(), "Malformed", 0),
        ("sid='; DROP TABLE sessions; --".to_owned(), "Malformed", 0),
        (format!("sid={unknown}"), "Unknown", 1),
        (format!("sid={cart}"), "NotBelieved", 1),
        (format!("sid={out}"), "NotBelieved", 1),
        (format!("sid={number}"), "Value { key: \"user_id\" }", 1),
        (
            format!("sid={nothing}"),
            "Id(IdError { field: \"user_id\", problem: Placeholder })",
            1,
        ),
    ];
    for (cookies, expected, loads) in cases {
        store.loads.store(0, Ordering::SeqCst);
        let strategy = SessionCookie::new("sid", store.clone());
        let got = said(&send(strategy, with_cookies(&cookies)).await);
        assert_eq!(got, expected, "{cookies}");
        assert_eq!(
            store.loads.load(Ordering::SeqCst),
            loads,
            "look-ups for {cookies}"
        );
    }
}

#[tokio::test]
async fn cookies_on_several_lines_and_beside_other_encodings_are_one_request_s() {
    let store = MemoryStore::default();
    let alice = stored(&store, json!({"user_id": "alice"})).await;
    let strategy = || SessionCookie::new("sid", store.clone());

    let mut two = with_cookies(format!("sid={alice}"));
    two.headers_mut()
        .append(header::COOKIE, HeaderValue::from_static("a=b"));
    assert_eq!(said(&send(strategy(), two).await), "alice");

    let mut twice = with_cookies(format!("sid={alice}"));
    let again = HeaderValue::try_from(format!("sid={alice}")).expect("a value");
    twice.headers_mut().append(header::COOKIE, again);
    assert_eq!(
        said(&send(strategy(), twice).await),
        InvalidReason::Repeated.to_string()
    );

    let latin = [b"name=J\xfcrgen; sid=", alice.to_string().as_bytes()].concat();
    assert_eq!(said(&send(strategy(), with_cookies(latin)).await), "alice");
    assert_eq!(
        said(&send(strategy(), with_cookies(b"sid=\xff\xfe")).await),
        "Malformed"
    );
}

#[tokio::test]
async fn a_session_is_proof_and_ends_with_the_session() {
    let store = MemoryStore::default();
    let id = stored(&store, json!({"user_id": "alice"})).await;
    let record = store.load(&id).await.expect("memory").expect("it is there");
    let strategy = SessionCookie::new("sid", store);
    let context = send(strategy, with_cookies(format!("sid={id}")))
        .await
        .expect("alice");
    assert_eq!(context.strategy(), "session_cookie");
    assert!(Evidence::is_proved(context.evidence()));
    assert_eq!(context.identity().expiry(), Some(record.expiry_date.into()));
}

#[tokio::test]
async fn stale_and_visitors_sessions_are_what_the_caller_says() {
    let store = MemoryStore::default();
    let cart = stored(&store, json!({"cart": [1]})).await;
    let unknown = Id::default();
    let strategy = || SessionCookie::new("sid", store.clone());
    let ask = async |strategy: SessionCookie<MemoryStore>, id: Id| {
        said(&send(strategy, with_cookies(format!("sid={id}"))).await)
    };
    assert_eq!(
        ask(strategy().treat_unknown_as_absent(), unknown).await,
        "fallback"
    );
    assert_eq!(
        ask(strategy().treat_unknown_as_absent(), cart).await,
        "fallback"
    );
    assert_eq!(ask(strategy().allow_visitors(), cart).await, "fallback");
    assert_eq!(ask(strategy().allow_visitors(), unknown).await, "Unknown");
    assert_eq!(
        ask(strategy().treat_unknown_as_absent(), cart).await,
        "fallback"
    );
    // Garbage is neither.
    let garbage = send(strategy().treat_unknown_as_absent(), with_cookies("sid=x")).await;
    assert_eq!(said(&garbage), "Malformed");
}

#[tokio::test]
async fn what_a_store_returns_is_checked() {
    let good = stored(&MemoryStore::default(), json!({})).await;
    let record = |id, age: i64| Record {
        id,
        data: [("user_id".to_owned(), json!("mallory"))].into(),
        expiry_date: time::OffsetDateTime::now_utc() + time::Duration::seconds(age),
    };
    for (returned, expected) in [
        (record(Id::default(), 60), "OtherSession"),
        (record(good, -1), "Expired"),
        (record(good, 60), "mallory"),
    ] {
        let store = Odd {
            returns: Some(returned),
            ..Odd::default()
        };
        let strategy = SessionCookie::new("sid", store);
        let got = said(&send(strategy, with_cookies(format!("sid={good}"))).await);
        assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn a_store_that_is_down_or_slow_is_503_and_never_the_fallback() {
    let down = Odd {
        fails: true,
        ..Odd::default()
    };
    let cookies = || with_cookies(format!("sid={}", Id::default()));
    let answer = send(SessionCookie::new("sid", down), cookies()).await;
    assert_eq!(
        answer.expect_err("it is down").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );

    let slow = Odd {
        wait: Some(Arc::new(Semaphore::new(0))),
        ..Odd::default()
    };
    let strategy = SessionCookie::new("sid", slow).timeout(Duration::from_millis(10));
    let answer = send(strategy, cookies()).await;
    assert_eq!(
        answer.expect_err("it is slow").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn an_earlier_strategy_that_matches_spares_the_look_up() {
    let store = Odd::default();
    let layer = UserScopeLayer::builder()
        .strategy(tower_user_scope::from_fn(
            tower_user_scope::Reads::header("x-key"),
            |_| Identity::proved(UserId::try_from("bob").expect("an id")).into(),
        ))
        .strategy(SessionCookie::new("sid", store.clone()))
        .context_only()
        .build()
        .expect("the configuration is good");
    let request = with_cookies(format!("sid={}", Id::default()));
    let response = layer.layer(service_fn(answer)).oneshot(request).await;
    assert_eq!(said(&seen(response.expect("infallible"))), "bob");
    assert_eq!(store.loads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_identity_can_be_made_of_a_value_of_the_application_s() {
    #[derive(Deserialize)]
    struct Login {
        id: String,
        organisation: String,
    }
    let store = MemoryStore::default();
    let login = json!({"id": "alice", "organisation": "acme"});
    let good = stored(&store, json!({"login": login})).await;
    let bad = stored(&store, json!({"login": "alice"})).await;
    let strategy = || {
        SessionCookie::new("sid", store.clone()).identity(|data| {
            let Some(login) = data.get::<Login>("login")? else {
                return Ok(None);
            };
            let tenant: TenantId = login.organisation.parse()?;
            Ok(Some(
                Identity::proved(login.id.parse::<UserId>()?).tenant(tenant),
            ))
        })
    };
    let context = send(strategy(), with_cookies(format!("sid={good}")))
        .await
        .expect("alice");
    assert_eq!(
        context.subject().tenant_id().map(TenantId::as_str),
        Some("acme")
    );
    assert_eq!(
        said(&send(strategy(), with_cookies(format!("sid={bad}"))).await),
        "Value { key: \"login\" }"
    );
}

/// The cookie that a jar would send back.
fn sent(jar: &CookieJar) -> String {
    let cookie = jar.get("sid").expect("it was added");
    format!("sid={}", cookie.value())
}

#[tokio::test]
async fn signed_and_encrypted_cookies_open_with_any_of_the_keys() {
    let (new, old, other) = (Key::generate(), Key::generate(), Key::generate());
    let store = Odd::default();
    let alice = stored(&store, json!({"user_id": "alice"})).await;
    let signed = |key: &Key| {
        let mut jar = CookieJar::new();
        jar.signed_mut(key)
            .add(Cookie::new("sid", alice.to_string()));
        sent(&jar)
    };
    let encrypted = |key: &Key| {
        let mut jar = CookieJar::new();
        jar.private_mut(key)
            .add(Cookie::new("sid", alice.to_string()));
        sent(&jar)
    };
    let plain = format!("sid={alice}");
    // A signature over another cookie's name.
    let renamed = {
        let mut jar = CookieJar::new();
        jar.private_mut(&new)
            .add(Cookie::new("other", alice.to_string()));
        format!("sid={}", jar.get("other").expect("it was added").value())
    };
    let base = || SessionCookie::new("sid", store.clone());
    let signing = || base().signed(new.clone()).also_accept(old.clone());
    let encrypting = || base().encrypted(new.clone()).also_accept(old.clone());
    for (strategy, cookies, expected) in [
        (signing(), signed(&new), "alice"),
        (signing(), signed(&old), "alice"),
        (signing(), signed(&other), "Seal"),
        (signing(), encrypted(&new), "Seal"),
        (signing(), plain.clone(), "Seal"),
        (encrypting(), encrypted(&new), "alice"),
        (encrypting(), encrypted(&old), "alice"),
        (encrypting(), encrypted(&other), "Seal"),
        (encrypting(), signed(&new), "Seal"),
        (encrypting(), plain.clone(), "Seal"),
        (encrypting(), renamed, "Seal"),
        (base(), signed(&new), "Malformed"),
    ] {
        store.loads.store(0, Ordering::SeqCst);
        assert_eq!(
            said(&send(strategy, with_cookies(&cookies)).await),
            expected,
            "{cookies}"
        );
        let looked_up = usize::from(expected == "alice");
        assert_eq!(
            store.loads.load(Ordering::SeqCst),
            looked_up,
            "look-ups for {cookies}"
        );
    }
    // Any changed byte.
    for good in [signed(&new), encrypted(&new)] {
        for at in "sid=".len()..good.len() {
            let mut cookies = good.clone().into_bytes();
            cookies[at] = if cookies[at] == b'A' { b'B' } else { b'A' };
            let strategy = if good == signed(&new) {
                signing()
            } else {
                encrypting()
            };
            let answer = send(strategy, with_cookies(&cookies)).await;
            assert!(answer.is_err(), "byte {at} was changed and nobody noticed");
        }
    }
}

/// Logs in through tower-sessions' own layer and returns the cookie that it set.
async fn log_in<S>(mut sessions: S) -> String
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    let response = sessions
        .ready()
        .await
        .expect("infallible")
        .call(Request::new(()));
    let response = response.await.expect("infallible");
    let cookie = response
        .headers()
        .get(header::SET_COOKIE)
        .expect("a new session");
    let cookie = cookie.to_str().expect("text");
    cookie
        .split(';')
        .next()
        .expect("a name and a value")
        .to_owned()
}

async fn login(request: Request<()>) -> Result<Response<()>, Infallible> {
    let session = request
        .extensions()
        .get::<Session>()
        .expect("the outer layer is there");
    session.insert("user_id", "alice").await.expect("memory");
    Ok(Response::new(()))
}

#[tokio::test]
async fn sessions_that_tower_sessions_wrote_are_read_both_ways() {
    let store = MemoryStore::default();
    let key = Key::generate();
    let tower_key = Key::from(key.master());
    let plain = || SessionManagerLayer::new(store.clone()).with_name("sid");
    let login = service_fn(login);
    let cookie = || SessionCookie::new("sid", store.clone());
    for (cookies, strategy) in [
        (log_in(plain().layer(login)).await, cookie()),
        (
            log_in(plain().with_signed(tower_key.clone()).layer(login)).await,
            cookie().signed(key.clone()),
        ),
        (
            log_in(plain().with_private(tower_key.clone()).layer(login)).await,
            cookie().encrypted(key.clone()),
        ),
    ] {
        assert_eq!(
            said(&send(strategy, with_cookies(&cookies)).await),
            "alice",
            "{cookies}"
        );
    }

    let cookies = log_in(plain().layer(login)).await;
    let cart = format!("sid={}", stored(&store, json!({"cart": 1})).await);
    let unknown = format!("sid={}", Id::default());
    let inner = service_fn(|request| async {
        let response = answer(request).await?;
        Ok::<_, Infallible>(response.map(|_| http_body_util::Empty::<bytes::Bytes>::new()))
    });
    let strict = FromSession::new;
    for (strategy, cookies, expected) in [
        (strict(), &*cookies, "alice"),
        (strict(), &*cart, "NotBelieved"),
        (strict(), &*unknown, "Unknown"),
        (strict(), "a=b", "fallback"),
        (strict().allow_visitors(), &*cart, "fallback"),
        (strict().allow_visitors(), &*unknown, "Unknown"),
        (strict().treat_unknown_as_absent(), &*unknown, "fallback"),
    ] {
        let users = UserScopeLayer::builder()
            .strategy(strategy)
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("the configuration is good");
        let stack = ServiceBuilder::new()
            .layer(plain())
            .layer(users)
            .service(inner);
        let response = stack.oneshot(with_cookies(cookies)).await;
        assert_eq!(
            said(&seen(response.expect("infallible"))),
            expected,
            "{cookies}"
        );
    }
    // The layers the wrong way round.
    let answer = send(strict(), Request::new(())).await;
    assert_eq!(
        answer.expect_err("no session").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_session_of_an_outer_layer_whose_store_is_down_is_503() {
    let store = Odd {
        fails: true,
        ..Odd::default()
    };
    let session = Session::new(Some(Id::default()), Arc::new(store), None);
    let mut request = Request::new(());
    request.extensions_mut().insert(session);
    let answer = send(FromSession::new(), request).await;
    assert_eq!(
        answer.expect_err("it is down").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn the_cookie_is_kept_out_of_what_debug_prints_of_the_headers() {
    let store = MemoryStore::default();
    let alice = stored(&store, json!({"user_id": "alice"})).await;
    let layer = UserScopeLayer::builder()
        .strategy(SessionCookie::new("sid", store))
        .context_only()
        .build()
        .expect("the configuration is good");
    let request = with_cookies(format!("sid={alice}"));
    let response = layer
        .layer(service_fn(answer))
        .oneshot(request)
        .await
        .expect("infallible");
    let headers = response
        .extensions()
        .get::<HeaderMap>()
        .expect("the inner service saw it");
    assert!(headers.contains_key(header::COOKIE), "it is still there");
    let shown = format!("{headers:?}");
    assert!(!shown.contains(&alice.to_string()), "{shown}");
}

#[test]
fn a_configuration_that_can_not_be_meant_is_told_by_build() {
    let with = |name: &str| SessionCookie::new(name, MemoryStore::default());
    assert_eq!(with("__Host-sid").validate(), Ok(()));
    for name in ["", "a b", "a=b", "a;b", "\u{fc}"] {
        let name = name.to_owned();
        assert_eq!(
            with(&name).validate(),
            Err(ConfigError::CookieName { name })
        );
    }
    assert_eq!(
        with("sid").also_accept(Key::generate()).validate(),
        Err(ConfigError::CookieKeyWithoutUse)
    );
    let both = with("sid")
        .signed(Key::generate())
        .encrypted(Key::generate());
    assert_eq!(both.validate(), Err(ConfigError::CookieSealedTwice));
    let zeroes = with("sid").signed(Key::from(&[0; 64]));
    assert_eq!(zeroes.validate(), Err(ConfigError::WeakCookieKey));
    let key = Key::generate();
    let twice = with("sid").signed(key.clone()).also_accept(key);
    assert_eq!(twice.validate(), Err(ConfigError::CookieKeyReused));
}

#[test]
fn keys_are_kept_out_of_debug() {
    let strategy = SessionCookie::new("sid", MemoryStore::default()).signed(key_of_a_test());
    let shown = format!("{strategy:?}");
    assert!(
        !shown.contains("7, 8") && !shown.contains("0708"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn arbitrary_cookies_are_nobody_s(
        prefix in prop::sample::select(vec!["", "sid=", "sid=a; ", "\"sid\"="]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let value = [prefix.as_bytes(), &bytes].concat();
        if HeaderValue::from_bytes(&value).is_ok() {
            let store = Odd::default();
            for strategy in [
                SessionCookie::new("sid", store.clone()),
                SessionCookie::new("sid", store.clone()).signed(key_of_a_test()),
                SessionCookie::new("sid", store.clone()).encrypted(key_of_a_test()),
            ] {
                let answer = runtime.block_on(send(strategy, with_cookies(&value)));
                prop_assert!(answer.as_ref().map_or(true, |context| context.user_id().is_none()));
            }
        }
    }
}
