//! What an introspection endpoint says about a token, and what is accepted of it (RFC 7662
//! section 2.2).

use std::{
    convert::Infallible,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ConfigError, Identity, Principal, UserId, UserScopeLayer,
    authorize::{Grants, Require},
    context::{ServiceName, TenantId},
    introspection::{ClientAuthentication, Introspection},
    jwt::{
        HasAudience, HttpsFetch, TokenConfigError, TokenError, TokenErrorKind, VerifiedToken,
        WantsAudience,
    },
    rejection::LoginRedirect,
    strategy::{InvalidErrorKind, Strategy},
    token::TokenSource,
};

use crate::support::{
    Answer, Came, Setup,
    endpoint::{Endpoint, Reply},
    lines::Lines,
    request,
};

pub(crate) const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

pub(crate) fn bearer(token: &str) -> Request<()> {
    request(&[("authorization", &format!("Bearer {token}"))])
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// What an endpoint says about alice's token, with these members replaced; `null` removes one.
pub(crate) fn answer_with(members: Value) -> Value {
    let mut answer = json!({
        "active": true, "sub": "alice", "aud": ["api", "other"], "client_id": "app",
        "exp": now() + 3_600, "scope": "orders:read", "token_type": "Bearer",
    });
    let (Value::Object(all), Value::Object(members)) = (&mut answer, members) else {
        panic!("answers are objects");
    };
    for (name, value) in members {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    answer
}

fn client() -> ClientAuthentication {
    ClientAuthentication::basic("orders-api", "s3cret-of-the-client")
}

/// One client for all tests: each that is made reads the platform's certificates.
pub(crate) fn http_client() -> HttpsFetch {
    static CLIENT: LazyLock<HttpsFetch> = LazyLock::new(|| HttpsFetch::new().expect("a client"));
    CLIENT.clone()
}

fn asking(endpoint: &Endpoint) -> Introspection<WantsAudience> {
    Introspection::new(endpoint.url(), client()).post_with(http_client())
}

pub(crate) fn strategy(endpoint: &Endpoint) -> Introspection<HasAudience> {
    asking(endpoint).audience("api")
}

async fn answered(strategy: Introspection<HasAudience>) -> Answer {
    let mut setup = Setup::new([strategy.boxed()]);
    setup.visitors = true;
    setup.service().send(bearer(TOKEN)).await
}

/// The user, or why the token was refused.
async fn user_of(strategy: Introspection<HasAudience>) -> Result<String, TokenErrorKind> {
    let answer = answered(strategy).await;
    if let Ok(context) = &answer.outcome {
        return Ok(context.user_id().expect("a user").to_string());
    }
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = &answer.headers[header::WWW_AUTHENTICATE];
    assert_eq!(challenge, "Bearer error=\"invalid_token\"");
    Err(answer.reason::<TokenError>().kind().clone())
}

#[tokio::test]
async fn each_member_of_an_answer_is_checked() {
    let alice = || Ok("alice".to_owned());
    let missing = |name: &'static str| Err(TokenErrorKind::MissingClaim(name.into()));
    let of_type = |name: &'static str| Err(TokenErrorKind::ClaimType(name.into()));
    for (members, user) in [
        (json!({}), alice()),
        (json!({"active": false}), Err(TokenErrorKind::Inactive)),
        // Nothing else counts then.
        (
            json!({"active": false, "exp": "x", "sub": 7}),
            Err(TokenErrorKind::Inactive),
        ),
        (json!({"exp": null}), alice()),
        (json!({"exp": now() + 100}), alice()),
        (json!({"exp": now()}), Err(TokenErrorKind::Expired)),
        (json!({"exp": 0}), Err(TokenErrorKind::Expired)),
        (
            json!({"exp": "never"}),
            Err(TokenErrorKind::NumericDate("exp")),
        ),
        (json!({"exp": -1}), Err(TokenErrorKind::NumericDate("exp"))),
        // Milliseconds.
        (
            json!({"exp": now() * 1_000}),
            Err(TokenErrorKind::NumericDate("exp")),
        ),
        (json!({"nbf": now() - 1}), alice()),
        // The issuer's clock may be ahead.
        (json!({"nbf": now() + 20}), alice()),
        (json!({"nbf": now() + 60}), Err(TokenErrorKind::NotYetValid)),
        (json!({"aud": "api"}), alice()),
        (json!({"aud": "other"}), Err(TokenErrorKind::WrongAudience)),
        (
            json!({"aud": ["other", "api2", "API"]}),
            Err(TokenErrorKind::WrongAudience),
        ),
        (json!({"aud": []}), missing("aud")),
        (json!({"aud": null}), missing("aud")),
        (json!({"aud": {"api": true}}), of_type("aud")),
        (json!({"sub": "bob"}), Ok("bob".to_owned())),
        (json!({"sub": null}), missing("sub")),
        (
            json!({"sub": 7}),
            Err(TokenErrorKind::NumericId("sub".into())),
        ),
        (json!({"sub": ["alice"]}), of_type("sub")),
        (json!({"token_type": null}), alice()),
        (json!({"token_type": "bearer"}), alice()),
        (json!({"token_type": "access_token"}), alice()),
        (
            json!({"token_type": "DPoP"}),
            Err(TokenErrorKind::WrongType),
        ),
        (
            json!({"token_type": "refresh_token"}),
            Err(TokenErrorKind::WrongType),
        ),
        (json!({"token_type": 1}), of_type("token_type")),
        (json!({"token_use": "access_token"}), alice()),
        (
            json!({"token_use": "refresh_token"}),
            Err(TokenErrorKind::WrongType),
        ),
        (
            json!({"cnf": {"jkt": "x"}}),
            Err(TokenErrorKind::SenderConstrained),
        ),
        (json!({"scope": null}), alice()),
        (json!({"scope": 7}), of_type("scope")),
        // Nobody asked for these.
        (
            json!({"iss": "https://else.example", "username": 7, "jti": []}),
            alice(),
        ),
    ] {
        let endpoint = Endpoint::always(answer_with(members.clone()));
        assert_eq!(user_of(strategy(&endpoint)).await, user, "{members}");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_checked() {
    let issuer = "https://id.example";
    let wrong = |name: &'static str| Err(TokenErrorKind::WrongClaim(name.into()));
    let missing = |name: &'static str| Err(TokenErrorKind::MissingClaim(name.into()));
    for (members, user) in [
        (
            json!({"iss": issuer, "tier": "gold", "username": "alice"}),
            Ok("alice".to_owned()),
        ),
        (
            json!({"iss": "https://id.example/", "tier": "gold"}),
            Err(TokenErrorKind::WrongIssuer),
        ),
        (json!({"tier": "gold"}), missing("iss")),
        (json!({"iss": issuer, "tier": "iron"}), wrong("tier")),
        (json!({"iss": issuer}), missing("tier")),
        (
            json!({"iss": issuer, "tier": "gold", "client_id": "x"}),
            Err(TokenErrorKind::WrongAudience),
        ),
        (json!({"iss": issuer, "tier": "gold"}), missing("username")),
    ] {
        let endpoint = Endpoint::always(answer_with(members.clone()));
        let strategy = asking(&endpoint)
            .audience_claim("client_id")
            .audience("app")
            .audience("another-app")
            .issuer(issuer)
            .user_id_claim("username")
            .require_claim("tier", ["gold"]);
        assert_eq!(user_of(strategy).await, user, "{members}");
    }
    let endpoint = Endpoint::always(answer_with(json!({"aud": null, "token_type": "DPoP"})));
    let strategy = asking(&endpoint)
        .dangerously_accept_any_audience()
        .dangerously_accept_sender_constrained();
    assert_eq!(user_of(strategy).await, Ok("alice".to_owned()));
}

/// An endpoint says of a refresh token that it is active, too. Of the right client and of the right user,
/// it has no `token_type` (as `oidc-provider` has it), and no `aud`.
#[tokio::test]
async fn a_refresh_token_is_no_access_token_whatever_the_audience_is_read_from() {
    let refused = Err(TokenErrorKind::MissingClaim("token_type".into()));
    let alice = Ok("alice".to_owned());
    for (members, user) in [
        (json!({}), alice.clone()),
        (json!({"token_type": null}), refused.clone()),
        (
            json!({"token_type": null, "token_use": "access_token"}),
            alice,
        ),
        (
            json!({"token_type": null, "token_use": "refresh_token"}),
            Err(TokenErrorKind::WrongType),
        ),
    ] {
        let endpoint = Endpoint::always(answer_with(members.clone()));
        for strategy in [
            asking(&endpoint)
                .audience_claim("client_id")
                .audience("app"),
            asking(&endpoint).dangerously_accept_any_audience(),
        ] {
            assert_eq!(user_of(strategy).await, user, "{members}");
        }
    }
}

/// B71.
#[tokio::test]
async fn an_actor_and_nested_roles_are_read_where_the_application_asks_for_them() {
    let members = json!({
        "act": {"sub": "admin", "act": {"sub": "earlier"}},
        "realm_access": {"roles": ["editor"]},
    });
    let endpoint = Endpoint::always(answer_with(members));
    let context = answered(strategy(&endpoint)).await.outcome.expect("alice");
    assert_eq!(context.actor(), None);
    let asking = strategy(&endpoint)
        .actor_claim("act")
        .role_claim_at("realm_access", ["roles"]);
    let context = answered(asking).await.outcome.expect("alice");
    let admin = Principal::User("admin".parse().expect("an id"));
    assert_eq!(context.actor(), Some(&admin));
    assert!(Grants::of(&context).expect("granted").has_role("editor"));
    assert!(Require::new().no_actor().check(&context).is_err());

    for actor in [json!({}), json!("admin"), json!({"sub": 7})] {
        let endpoint = Endpoint::always(answer_with(json!({"act": actor})));
        let asking = strategy(&endpoint).actor_claim("act");
        let wrong = Err(TokenErrorKind::ClaimType("act".into()));
        assert_eq!(user_of(asking).await, wrong, "{actor}");
    }
}

#[tokio::test]
async fn an_identity_has_what_the_answer_says() {
    #[derive(Clone, Debug, Deserialize, PartialEq)]
    struct Extra {
        org: String,
    }

    let end = now() + 600;
    let endpoint = Endpoint::always(answer_with(json!({
        "exp": end, "jti": "j-1", "org": "acme", "roles": ["editor"], "scope": "a b",
        "iss": "https://id.example",
    })));
    let strategy = strategy(&endpoint)
        .tenant_claim("org")
        .role_claim("roles")
        .claims::<Extra>();
    let context = answered(strategy).await.outcome.expect("accepted");
    assert!(context.evidence().is_proved());
    assert_eq!(context.strategy(), "introspection");
    assert_eq!(context.tenant_id().map(TenantId::as_str), Some("acme"));
    let ends = context.identity().expires_at().expect("it ends");
    assert_eq!(
        ends.duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs(),
        end
    );
    let grants = Grants::of(&context).expect("granted");
    assert_eq!(grants.scopes().collect::<Vec<_>>(), ["a", "b"]);
    assert!(grants.has_role("editor"));
    let token = context.attributes().get::<VerifiedToken>().expect("there");
    assert_eq!(
        (token.token_id(), token.audience()),
        (Some("j-1"), Some("api"))
    );
    assert_eq!(
        (token.issuer(), token.key_id()),
        (Some("https://id.example"), None)
    );
    let extra = Extra {
        org: "acme".to_owned(),
    };
    assert_eq!(context.attributes().get::<Extra>(), Some(&extra));
}

#[tokio::test]
async fn a_token_of_a_service_has_no_user() {
    #[derive(Clone, Deserialize)]
    struct Members {
        sub: Option<String>,
        client_id: String,
    }

    for (members, principal) in [
        (
            json!({"sub": null}),
            Principal::Service("app".parse().expect("a name")),
        ),
        (json!({}), Principal::User("alice".parse().expect("an id"))),
    ] {
        let endpoint = Endpoint::always(answer_with(members));
        let strategy = strategy(&endpoint).identity(|_, answer: &Members| {
            Ok(match &answer.sub {
                Some(user) => Identity::proved(user.parse::<UserId>()?),
                None => Identity::proved(answer.client_id.parse::<ServiceName>()?),
            })
        });
        let context = answered(strategy).await.outcome.expect("accepted");
        assert_eq!(*context.principal(), principal);
    }
}

#[tokio::test]
async fn the_endpoint_learns_the_token_and_which_client_asks() {
    let endpoint = Endpoint::always(answer_with(json!({})));
    let assertion = || Ok::<_, std::fmt::Error>("a.signed.jwt".to_owned());
    for (client, authorization, fields) in [
        (
            // Both are encoded before they are joined.
            ClientAuthentication::basic("a:b", "c d%"),
            Some(format!("Basic {}", STANDARD.encode("a%3Ab:c+d%25"))),
            vec![],
        ),
        (
            ClientAuthentication::post("a&b", "c=d"),
            None,
            vec![("client_id", "a&b"), ("client_secret", "c=d")],
        ),
        (
            ClientAuthentication::bearer("own"),
            Some("Bearer own".to_owned()),
            vec![],
        ),
        (
            ClientAuthentication::assertion("a", assertion),
            None,
            vec![
                ("client_id", "a"),
                ("client_assertion", "a.signed.jwt"),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ),
            ],
        ),
        (ClientAuthentication::none(), None, vec![]),
    ] {
        let shown = format!("{client:?}");
        let strategy = Introspection::new(endpoint.url(), client).audience("api");
        // Characters of a `b64token` that mean something in a form.
        let token = "a+b/c==";
        let answer = Setup::new([strategy.boxed()])
            .service()
            .send(bearer(token))
            .await;
        assert_eq!(answer.came(), Came::alice());
        let call = endpoint.calls().pop().expect("called");
        let mut wanted = vec![("token", token), ("token_type_hint", "access_token")];
        wanted.extend(fields);
        assert_eq!(call.form.len(), wanted.len(), "{shown}");
        for (name, value) in wanted {
            assert_eq!(
                call.form.get(name).map(String::as_str),
                Some(value),
                "{shown} {name}"
            );
        }
        let sent = call
            .head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        assert_eq!(sent.map(str::to_owned), authorization, "{shown}");
        assert!(call.head.starts_with("POST /introspect HTTP/1.1\r\n"));
        assert!(
            call.head
                .contains("content-type: application/x-www-form-urlencoded\r\n")
        );
        assert!(call.head.contains("accept: application/json\r\n"));
    }
}

#[tokio::test]
async fn nothing_that_is_shown_has_the_token_or_the_secret() {
    let (lines, _guard) = Lines::collect();
    let replies: [fn() -> Reply; 3] = [
        || Reply::Json(json!({"active": false})),
        || Reply::Http("500 Oops".to_owned(), TOKEN.into()),
        || Reply::Bytes(format!("HTTP/1.1 {TOKEN}\r\n\r\n").into_bytes()),
    ];
    for reply in replies {
        let endpoint = Endpoint::start(move |_| reply());
        let url = format!("{}?api_key=s3cret-of-the-client", endpoint.url());
        let strategy = Introspection::new(url, client()).audience("api");
        let shown = format!("{strategy:?}");
        let asked = Setup::new([strategy.boxed()]).service();
        let answer = asked.send(bearer(TOKEN)).await;
        let rejection = answer.outcome.expect_err("refused");
        let mut all = vec![
            shown,
            format!("{rejection:?} {rejection}"),
            format!("{:?}", asked.recorder.events()),
            format!("{:?} {:?}", answer.headers, answer.body),
            lines.text(),
        ];
        let mut source = std::error::Error::source(&rejection);
        while let Some(error) = source {
            all.push(format!("{error:?} {error}"));
            source = error.source();
        }
        for shown in all {
            assert!(!shown.contains(TOKEN), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}

#[test]
fn a_wrong_configuration_is_an_error_of_build() {
    let of = |url: &str| Introspection::new(url, client()).audience("api");
    let good = || of("https://id.example/introspect");
    assert_eq!(good().validate(), Ok(()));
    assert_eq!(of("http://localhost:4445/introspect").validate(), Ok(()));
    for url in [
        "http://id.example/i",
        "ftp://id.example",
        "",
        "/introspect",
        "https://a:b@id.example/",
    ] {
        let checked = of(url).validate();
        let is_url = matches!(
            checked,
            Err(ConfigError::Token(TokenConfigError::Url { .. }))
        );
        assert!(is_url, "{url}: {checked:?}");
    }
    assert_eq!(
        of("http://id.example/i")
            .dangerously_allow_http()
            .validate(),
        Ok(())
    );
    let empty = Err(ConfigError::Token(TokenConfigError::EmptyName));
    assert_eq!(good().issuer("").validate(), empty);
    assert_eq!(good().audience("").validate(), empty);
    let zero = good().call_time_limit(std::time::Duration::ZERO);
    assert_eq!(zero.validate(), Err(ConfigError::ZeroTimeLimit));
    let claims = good().user_id_claim("exp").validate();
    assert!(matches!(
        claims,
        Err(ConfigError::Token(TokenConfigError::ClaimName { .. }))
    ));
    let values = good().require_claim("tier", [""; 0]).validate();
    assert!(matches!(
        values,
        Err(ConfigError::Token(TokenConfigError::NoClaimValue { .. }))
    ));
    let source = good()
        .token_source(TokenSource::header("cookie"))
        .validate();
    assert!(matches!(source, Err(ConfigError::TokenSource { .. })));
    let client = ClientAuthentication::bearer("two\nlines");
    let unsendable = Introspection::new("https://id.example/i", client).audience("api");
    assert_eq!(unsendable.validate(), Err(ConfigError::UnsendableSecret));
}

#[tokio::test]
async fn a_token_comes_once_and_is_not_too_long() {
    let endpoint = Endpoint::always(answer_with(json!({})));
    let both = || strategy(&endpoint).also_token_source(TokenSource::query("token"));
    let mut setup = Setup::new([both().boxed()]);
    setup.visitors = true;
    let asked = setup.service();
    let refused = Came::Refused;
    let too_long = "a".repeat(8_193);
    let mut twice = bearer(TOKEN);
    *twice.uri_mut() = "/p?token=x".parse().expect("a URI");
    for (request, came) in [
        (
            bearer(&too_long),
            refused(InvalidErrorKind::Rejected("token_too_long")),
        ),
        (twice, refused(InvalidErrorKind::Repeated)),
        (
            request(&[("authorization", "Bearer")]),
            refused(InvalidErrorKind::Malformed),
        ),
        (
            request(&[("authorization", "Bearer a b")]),
            refused(InvalidErrorKind::Malformed),
        ),
        (
            request(&[("authorization", &"a".repeat(33))]),
            refused(InvalidErrorKind::Malformed),
        ),
        (request(&[("authorization", "Basic YTpi")]), Came::Visitor),
        (request(&[]), Came::Visitor),
    ] {
        assert_eq!(asked.came(request).await, came);
    }
    assert_eq!(endpoint.asked(), 0);
    assert_eq!(asked.came(bearer(&too_long[1..])).await, Came::alice());
}

/// A log-in page is often another site.
#[tokio::test]
async fn a_token_in_the_query_does_not_get_to_the_log_in_page() {
    let endpoint = Endpoint::always(json!({"active": false}));
    let layer = UserScopeLayer::builder()
        .strategy(strategy(&endpoint).token_source(TokenSource::query("token")))
        .rejection_response(LoginRedirect::to("https://id.example/start").expect("a URL"))
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(()))
    }));
    for query in [
        format!("token={TOKEN}&page=2"),
        format!("page=2&to%6Ben={TOKEN}"),
        format!("token={TOKEN}&page=2&token={TOKEN}x"),
    ] {
        let mut asked = request(&[("accept", "text/html")]);
        *asked.uri_mut() = format!("/orders?{query}").parse().expect("a URI");
        let response = service.clone().oneshot(asked).await.expect("infallible");
        let location = response.headers().get(header::LOCATION);
        let location = location.map(|to| to.to_str().expect("ASCII"));
        let to_log_in = Some("https://id.example/start?next=%2Forders%3Fpage%3D2");
        let wanted = match response.status() {
            // Two tokens.
            StatusCode::BAD_REQUEST => None,
            _ => to_log_in,
        };
        assert_eq!(location, wanted, "{query}");
    }
    assert_eq!(endpoint.asked(), 1, "the second answer is remembered");
}
