//! Tokens of a real OpenID provider, by its own discovery and keys: `oidc-provider` of npm. B28 and B29; and
//! B55: it says who has logged out there.
//!
//! The provider is a program in `oidc/`: `.ci/oidc-provider` installs what it depends on, sets
//! `OIDC_PROVIDER` to the folder, and runs this.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{RawForm, State},
    response::IntoResponse,
    routing::{get, post},
};
use futures::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header, redirect::Policy};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};
use tower_user_scope::{
    Identity, Principal, UserId, UserScopeLayer,
    authorize::Grants,
    context::ServiceName,
    introspection::{ClientAuthentication, Introspection},
    jwt::{
        CryptoProvider, HasAudience, HasIssuer, Jwt, LogoutTokens, RemoteKeys, TokenError,
        TokenErrorKind,
    },
    open_scopes::OpenScopes,
    strategy::{InvalidErrorKind, Strategy},
    testing::TestClock,
};

use crate::{
    introspection::{http_client, now},
    support::{Asked, Came, Setup, request},
};

const API: &str = "https://orders.example";
/// Its tokens are opaque.
const REPORTS: &str = "https://reports.example";
const CLIENT_SECRET: &str = "another secret: of these tests & more";
const CALLBACK: &str = "https://web.example/callback";
const SECRET: &str = "a secret of these tests, and of nothing else";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The running provider.
struct Provider {
    issuer: String,
    http: Client,
    process: Child,
}

impl Provider {
    /// Starts the provider; `None` where it is not installed.
    async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with these environment variables.
    async fn start_with(variables: &[(&str, &str)]) -> Option<Self> {
        let Some(folder) = std::env::var_os("OIDC_PROVIDER") else {
            eprintln!("not run: `.ci/oidc-provider` installs the provider and runs this");
            return None;
        };
        let mut process = Command::new("node")
            .arg("provider.mjs")
            .current_dir(folder)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node");
        let output = process.stdout.take().expect("piped");
        let mut lines = BufReader::new(output).lines();
        let issuer = lines.next_line().await.expect("text").expect("an issuer");
        let http = Client::builder()
            .redirect(Policy::none())
            .build()
            .expect("a client");
        Some(Self {
            issuer,
            http,
            process,
        })
    }

    fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.issuer).parse().expect("a URL")
    }

    /// Changes the provider's keys.
    async fn control(&self, what: &str) {
        let response = self
            .http
            .post(self.url(what))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }

    async fn token(&self, form: &[(&str, &str)]) -> Tokens {
        let request = self
            .http
            .post(self.url("/token"))
            .basic_auth("web", Some(SECRET));
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.body(form).send().await.expect("an answer");
        Tokens(json_of(response).await)
    }

    async fn revoke(&self, token: &str) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .finish();
        let response = (self.http.post(self.url("/token/revocation")))
            .basic_auth("web", Some(SECRET))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }

    /// The private key of the client that has no secret.
    async fn client_key(&self) -> EncodingKey {
        let url = self.url("/test/client-key");
        let response = self.http.get(url).send().await.expect("an answer");
        let pem = response.bytes().await.expect("a key");
        EncodingKey::from_ec_pem(&pem).expect("a key")
    }

    /// Asks about opaque tokens where the metadata says.
    fn introspection(&self, client: ClientAuthentication) -> Introspection<HasAudience> {
        Introspection::discover(&*self.issuer, client)
            .post_with(http_client())
            .fetch_with(http_client())
            .issuer(&*self.issuer)
            .audience(REPORTS)
    }

    /// Logs a user in, as a browser and then the client would: the code flow with PKCE.
    async fn log_in(&self, user: &str, resource: Option<&str>) -> Tokens {
        self.log_in_with(&mut self.browser(), user, resource).await
    }

    fn browser(&self) -> Browser {
        Browser {
            http: self.http.clone(),
            cookies: BTreeMap::new(),
        }
    }

    async fn log_in_with(
        &self,
        browser: &mut Browser,
        user: &str,
        resource: Option<&str>,
    ) -> Tokens {
        let mut url = self.url("/auth");
        url.query_pairs_mut()
            .append_pair("client_id", "web")
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", CALLBACK)
            .append_pair("scope", "openid offline_access orders:read")
            .append_pair("prompt", "login consent")
            .append_pair("login_hint", user)
            .append_pair("code_challenge", CHALLENGE)
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(resource.map(|resource| ("resource", resource)));
        // Two interactions, with a step between: seven redirects.
        for _ in 0..10 {
            let next = browser.follow(url).await;
            if next.as_str().starts_with(CALLBACK) {
                let code = next.query_pairs().find(|(name, _)| name == "code");
                let (_, code) = code.unwrap_or_else(|| panic!("no code in {next}"));
                let form = [
                    ("grant_type", "authorization_code"),
                    ("code", &*code),
                    ("redirect_uri", CALLBACK),
                    ("code_verifier", VERIFIER),
                ];
                return self.token(&form).await;
            }
            url = next;
        }
        panic!("the log-in does not end")
    }

    /// Logs out as a browser does: the provider asks whether, and the user says yes.
    async fn log_out(&self, browser: &mut Browser, id_token: &str) {
        let mut url = self.url("/session/end");
        url.query_pairs_mut().append_pair("id_token_hint", id_token);
        let page = browser.get(url).send().await.expect("an answer");
        browser.keep_cookies(&page);
        assert_eq!(page.status(), StatusCode::OK);
        let page = page.text().await.expect("a page");
        let between = |start: &str| {
            let (_, rest) = page
                .split_once(start)
                .unwrap_or_else(|| panic!("no {start} in {page}"));
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let xsrf = between(r#"name="xsrf" value=""#);
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("xsrf", &*xsrf), ("logout", "yes")])
            .finish();
        let confirmed = self
            .http
            .post(between(r#"action=""#))
            .header(header::COOKIE, browser.cookies())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("an answer");
        assert!(confirmed.status().is_redirection(), "{confirmed:?}");
    }

    fn jwt(&self) -> Jwt<HasIssuer, HasAudience> {
        Jwt::new(RemoteKeys::discover(&*self.issuer))
            .crypto_provider(CryptoProvider::aws_lc_rs())
            .issuer(&*self.issuer)
            .audience(API)
            .token_type("at+jwt")
            .scope_claim("scope")
    }
}

async fn json_of(response: Response) -> Value {
    let status = response.status();
    let body = response.bytes().await.expect("a body");
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

/// The answer of the token endpoint.
struct Tokens(Value);

impl Tokens {
    fn get(&self, name: &str) -> &str {
        self.0[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

/// Keeps cookies and follows redirects one by one.
struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url).header(header::COOKIE, self.cookies())
    }

    fn cookies(&self) -> String {
        let cookies: Vec<String> = (self.cookies.iter())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        cookies.join("; ")
    }

    fn keep_cookies(&mut self, response: &Response) {
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("ASCII");
            let (name, value) = cookie.split_once('=').expect("a pair");
            let value = value.split(';').next().unwrap_or_default();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    async fn follow(&mut self, url: Url) -> Url {
        let response = self.get(url.clone()).send().await.expect("an answer");
        self.keep_cookies(&response);
        let to = response
            .headers()
            .get(header::LOCATION)
            .and_then(|to| to.to_str().ok());
        let to = to.unwrap_or_else(|| panic!("{url} does not redirect: {}", response.status()));
        url.join(to).expect("a URL")
    }
}

fn bearer(token: &str) -> http::Request<()> {
    request(&[("authorization", &format!("Bearer {token}"))])
}

async fn reason(asked: &Asked, token: &str) -> TokenErrorKind {
    asked
        .send(bearer(token))
        .await
        .reason::<TokenError>()
        .kind()
        .clone()
}

fn user(id: &str) -> Came {
    Came::User(id.to_owned())
}

#[tokio::test]
async fn of_what_a_log_in_gives_the_access_token_alone_is_accepted() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let asked = Setup::new([provider.jwt().boxed()]).service();
    let tokens = provider.log_in("alice", Some(API)).await;

    let answer = asked.send(bearer(tokens.get("access_token"))).await;
    assert_eq!(answer.came(), Came::alice());
    let context = answer.outcome.expect("alice");
    let grants = Grants::of(&context).expect("scopes were asked for");
    assert!(grants.has_scope("orders:read") && !grants.has_scope("orders:write"));
    assert!(context.identity().expires_at().is_some());

    // Of the same user, by the same key, a minute old at most: not for this.
    let id_token = tokens.get("id_token");
    assert_eq!(reason(&asked, id_token).await, TokenErrorKind::WrongType);
    let refresh_token = tokens.get("refresh_token");
    assert_eq!(
        reason(&asked, refresh_token).await,
        TokenErrorKind::Malformed
    );
    let opaque = provider.log_in("alice", None).await;
    assert_eq!(
        reason(&asked, opaque.get("access_token")).await,
        TokenErrorKind::Malformed
    );
}

#[tokio::test]
async fn a_refreshed_token_is_the_same_users() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let asked = Setup::new([provider.jwt().boxed()]).service();
    for name in ["alice", "bob"] {
        let tokens = provider.log_in(name, Some(API)).await;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.get("refresh_token")),
            ("resource", API),
        ];
        let fresh = provider.token(&form).await;
        assert_ne!(fresh.get("access_token"), tokens.get("access_token"));
        for tokens in [&tokens, &fresh] {
            assert_eq!(
                asked.came(bearer(tokens.get("access_token"))).await,
                user(name)
            );
        }
    }
}

#[tokio::test]
async fn a_clients_own_token_is_a_services_where_the_application_says_so() {
    #[derive(Clone, Deserialize)]
    struct Claims {
        sub: String,
        client_id: String,
    }

    let Some(provider) = Provider::start().await else {
        return;
    };
    // RFC 9068 section 2.2: the subject of such a token is the client.
    let jwt = provider.jwt().identity(|_, claims: &Claims| {
        if claims.sub == claims.client_id {
            return Ok(Identity::proved(ServiceName::try_from(&*claims.sub)?));
        }
        Ok(Identity::proved(UserId::try_from(&*claims.sub)?))
    });
    let asked = Setup::new([jwt.boxed()]).service();
    let form = [("grant_type", "client_credentials"), ("resource", API)];
    let own = provider.token(&form).await;
    let context = asked.send(bearer(own.get("access_token"))).await.outcome;
    let service = Principal::Service("web".parse().expect("a name"));
    assert_eq!(context.expect("the client").principal(), &service);
    let tokens = provider.log_in("alice", Some(API)).await;
    let alice = asked.came(bearer(tokens.get("access_token"))).await;
    assert_eq!(alice, Came::alice());
}

#[tokio::test]
async fn keys_are_rotated_under_load_and_a_withdrawn_one_is_refused() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let clock = TestClock::now();
    let asked = Setup::new([provider.jwt().boxed()]).service_at(clock.clone());
    let old = provider
        .log_in("alice", Some(API))
        .await
        .get("access_token")
        .to_owned();
    assert_eq!(asked.came(bearer(&old)).await, Came::alice());

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (asked, old, stop) = (asked.clone(), old.clone(), stop.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(asked.came(bearer(&old)).await, Came::alice());
                tokio::task::yield_now().await;
            }
        });
    }
    for name in ["bob", "carol", "dave"] {
        provider.control("/test/rotate").await;
        // Unknown keys are asked for again, at most once in ten seconds.
        clock.advance(Duration::from_secs(11));
        let new = provider.log_in(name, Some(API)).await;
        assert_eq!(
            asked.came(bearer(new.get("access_token"))).await,
            user(name)
        );
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("nobody is refused, and nobody is somebody else");
    }

    // The set that has the newest key no longer has the others.
    provider.control("/test/rotate").await;
    provider.control("/test/withdraw").await;
    clock.advance(Duration::from_secs(11));
    let new = provider.log_in("erin", Some(API)).await;
    assert_eq!(
        asked.came(bearer(new.get("access_token"))).await,
        user("erin")
    );
    assert_eq!(reason(&asked, &old).await, TokenErrorKind::UnknownKey);
}

#[tokio::test]
async fn a_provider_that_is_killed_is_503_for_new_keys_alone() {
    let Some(mut provider) = Provider::start().await else {
        return;
    };
    let asked = Setup::new([provider.jwt().boxed()]).service();
    let token = provider
        .log_in("alice", Some(API))
        .await
        .get("access_token")
        .to_owned();
    assert_eq!(asked.came(bearer(&token)).await, Came::alice());
    let never_asked = Setup::new([provider.jwt().boxed()]).service();

    provider.process.kill().await.expect("it runs");
    assert_eq!(
        asked.came(bearer(&token)).await,
        Came::alice(),
        "by the keys that are known"
    );
    assert_eq!(never_asked.came(bearer(&token)).await, Came::Unavailable);
    let malformed = asked.came(bearer("not.a.token")).await;
    assert!(
        matches!(malformed, Came::Refused(InvalidErrorKind::Rejected(_))),
        "{malformed:?}"
    );
}

/// An application: an event stream for users, and the endpoint that the provider tells of log-outs.
fn serve(listener: TcpListener, provider: &Provider, open: &OpenScopes) {
    let layer = UserScopeLayer::builder()
        .strategy(provider.jwt())
        .open_scopes(open)
        .context_only()
        .build()
        .expect("a valid configuration");
    let events = async || {
        let first = stream::iter([Ok::<_, Infallible>("data: hello\n\n")]);
        let body = Body::from_stream(first.chain(stream::pending()));
        ([(header::CONTENT_TYPE, "text/event-stream")], body)
    };
    let own = Jwt::new(RemoteKeys::discover(&*provider.issuer))
        .crypto_provider(CryptoProvider::aws_lc_rs())
        .issuer(&*provider.issuer)
        .audience("web");
    let tokens = Arc::new(LogoutTokens::new(own).expect("a valid configuration"));
    let app = Router::new()
        .route("/events", get(events))
        .layer(layer)
        .route("/log-out", post(logged_out))
        .with_state((tokens, open.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });
}

async fn logged_out(
    State((tokens, open)): State<(Arc<LogoutTokens>, OpenScopes)>,
    RawForm(form): RawForm,
) -> impl IntoResponse {
    let posted = form_urlencoded::parse(&form).find(|(name, _)| name == "logout_token");
    let (_, token) = posted.expect("the provider sends one");
    let ended = tokens.verify(&token).await.expect("a valid log-out token");
    assert!(ended.subject().is_some() && ended.session_id().is_some());
    assert_eq!(open.revoke(ended.revocation()).expect("room"), 1);
    // Delivered once more.
    let again = tokens.verify(&token).await.expect_err("it was used");
    assert_eq!(again.kind(), Some(&TokenErrorKind::Replayed));
    [(header::CACHE_CONTROL, "no-store")]
}

/// The next part of a stream.
async fn next(stream: &mut Response) -> Option<String> {
    let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk());
    let chunk = chunk.await.expect("in time").expect("no error")?;
    Some(String::from_utf8(chunk.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_a_log_out_at_the_provider_ends_the_streams_of_that_session_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let endpoint = format!("http://{address}/log-out");
    let variables = [("BACKCHANNEL_LOGOUT_URI", &*endpoint)];
    let Some(provider) = Provider::start_with(&variables).await else {
        return;
    };
    let open = OpenScopes::new(Duration::from_secs(600));
    serve(listener, &provider, &open);

    let connect = async |tokens: &Tokens| {
        let request = provider.http.get(format!("http://{address}/events"));
        let request = request.bearer_auth(tokens.get("access_token"));
        request.send().await.expect("an answer")
    };
    let (mut laptop, mut phone, mut bobs) =
        (provider.browser(), provider.browser(), provider.browser());
    let on_laptop = provider.log_in_with(&mut laptop, "alice", Some(API)).await;
    let on_phone = provider.log_in_with(&mut phone, "alice", Some(API)).await;
    let of_bob = provider.log_in_with(&mut bobs, "bob", Some(API)).await;
    let mut streams = Vec::new();
    for tokens in [&on_laptop, &on_phone, &of_bob] {
        let mut stream = connect(tokens).await;
        assert_eq!(next(&mut stream).await.as_deref(), Some("data: hello\n\n"));
        streams.push(stream);
    }
    assert_eq!(open.total(), 3);

    provider
        .log_out(&mut laptop, on_laptop.get("id_token"))
        .await;
    let last = next(&mut streams[0]).await;
    assert_eq!(
        last.as_deref(),
        Some("event: scope-ended\ndata: logged_out\n\n")
    );
    assert_eq!(next(&mut streams[0]).await, None);
    // Nobody else's, and not hers on another device.
    assert_eq!(open.total(), 2);
    assert_eq!(connect(&on_laptop).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(connect(&on_phone).await.status(), StatusCode::OK);
    assert_eq!(connect(&of_bob).await.status(), StatusCode::OK);
    // She logs in again.
    let again = provider.log_in_with(&mut laptop, "alice", Some(API)).await;
    assert_eq!(connect(&again).await.status(), StatusCode::OK);
}

/// By each way in which a client shows who it is.
#[tokio::test]
async fn an_opaque_token_is_accepted_for_a_client_that_the_provider_knows() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let tokens = provider.log_in("alice", Some(REPORTS)).await;
    let token = tokens.get("access_token");
    assert!(!token.contains('.'), "opaque: {token}");
    let (key, issuer) = (provider.client_key().await, provider.issuer.clone());
    let sign = move || {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let claims = json!({
            "iss": "by-key", "sub": "by-key", "aud": issuer, "iat": now(), "exp": now() + 60,
            "jti": format!("{}-{}", now(), CALLS.fetch_add(1, Ordering::SeqCst)),
        });
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key)
    };
    for client in [
        ClientAuthentication::basic("by-basic", CLIENT_SECRET),
        ClientAuthentication::post("by-post", CLIENT_SECRET),
        ClientAuthentication::assertion("by-key", sign),
    ] {
        let shown = format!("{client:?}");
        let strategy = provider.introspection(client).cache_for(Duration::ZERO);
        let asked = Setup::new([strategy.boxed()]).service();
        // Each call has an assertion of its own, as the provider accepts none twice.
        for _ in 0..2 {
            let answer = asked.send(bearer(token)).await;
            assert_eq!(answer.came(), Came::alice(), "{shown}");
            let context = answer.outcome.expect("alice");
            let grants = Grants::of(&context).expect("scopes were asked for");
            assert!(grants.has_scope("orders:read") && !grants.has_scope("orders:write"));
            assert!(context.identity().expires_at().is_some());
        }
        let unknown = reason(&asked, "no-token-of-anybodys").await;
        assert_eq!(unknown, TokenErrorKind::Inactive);
        // This provider says nothing about signed tokens: 400.
        let signed = asked.came(bearer(tokens.get("id_token"))).await;
        assert_eq!(signed, Came::Unavailable);
    }
    for wrong in [
        ClientAuthentication::basic("by-basic", SECRET),
        ClientAuthentication::none(),
    ] {
        let strategy = provider.introspection(wrong);
        let asked = Setup::new([strategy.boxed()]).service();
        assert_eq!(asked.came(bearer(token)).await, Came::Unavailable);
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_and_is_not_accepted() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let client = || ClientAuthentication::basic("by-basic", CLIENT_SECRET);
    let by_client = Introspection::discover(&*provider.issuer, client())
        .post_with(http_client())
        .fetch_with(http_client())
        .audience_claim("client_id")
        .audience("web");
    let missing = |name: &'static str| TokenErrorKind::MissingClaim(name.into());
    for (strategy, why) in [
        (provider.introspection(client()), missing("aud")),
        (by_client, missing("token_type")),
    ] {
        let asked = Setup::new([strategy.boxed()]).service();
        let tokens = provider.log_in("alice", Some(REPORTS)).await;
        let came = asked.came(bearer(tokens.get("access_token"))).await;
        assert_eq!(came, Came::alice());
        assert_eq!(reason(&asked, tokens.get("refresh_token")).await, why);
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_at_the_provider_is_refused_within_the_period() {
    let Some(provider) = Provider::start().await else {
        return;
    };
    let clock = TestClock::now();
    let client = ClientAuthentication::basic("by-basic", CLIENT_SECRET);
    let strategy = provider
        .introspection(client)
        .cache_for(Duration::from_secs(30));
    let asked = Setup::new([strategy.boxed()]).service_at(clock.clone());
    let alice = provider.log_in("alice", Some(REPORTS)).await;
    let bob = provider.log_in("bob", Some(REPORTS)).await;
    let (alice, bob) = (alice.get("access_token"), bob.get("access_token"));
    assert_eq!(asked.came(bearer(alice)).await, Came::alice());
    assert_eq!(asked.came(bearer(bob)).await, user("bob"));

    provider.revoke(alice).await;
    clock.advance(Duration::from_secs(30));
    assert_eq!(reason(&asked, alice).await, TokenErrorKind::Inactive);
    assert_eq!(asked.came(bearer(bob)).await, user("bob"));
}

#[tokio::test]
async fn opaque_tokens_are_503_while_the_provider_is_down_and_work_when_it_is_back() {
    let Some(mut provider) = Provider::start().await else {
        return;
    };
    let clock = TestClock::now();
    let client = ClientAuthentication::basic("by-basic", CLIENT_SECRET);
    let asked = Setup::new([
        provider.jwt().leave_other_tokens().boxed(),
        provider.introspection(client).boxed(),
    ]);
    let asked = asked.service_at(clock.clone());
    let opaque = provider.log_in("alice", Some(REPORTS)).await;
    let opaque = opaque.get("access_token");
    let signed = provider.log_in("bob", Some(API)).await;
    let signed = signed.get("access_token");
    assert_eq!(asked.came(bearer(opaque)).await, Came::alice());
    assert_eq!(asked.came(bearer(signed)).await, user("bob"));

    provider.process.kill().await.expect("it runs");
    assert_eq!(
        asked.came(bearer(opaque)).await,
        Came::alice(),
        "remembered"
    );
    clock.advance(Duration::from_secs(30));
    assert_eq!(asked.came(bearer(opaque)).await, Came::Unavailable);
    assert_eq!(asked.came(bearer("unknown")).await, Came::Unavailable);
    assert_eq!(asked.came(bearer(signed)).await, user("bob"), "by keys");

    let port = provider.url("/").port().expect("a port");
    let port = port.to_string();
    let provider = Provider::start_with(&[("PORT", &port)]).await;
    let provider = provider.expect("installed");
    // It has forgotten what it had issued.
    assert_eq!(reason(&asked, opaque).await, TokenErrorKind::Inactive);
    let new = provider.log_in("carol", Some(REPORTS)).await;
    let new = new.get("access_token");
    assert_eq!(asked.came(bearer(new)).await, user("carol"));
}
