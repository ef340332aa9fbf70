//! What can be said of any strategy holds for it in a static list and in one from configuration
//! alike.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_user_scope::{
    BoxStrategy, ExistingContext, Fallback, FromExtension, Identity, Invalid, InvalidReason,
    Outcome, Presence, Reads, Reason, Rejection, Strategy, TrustedHeader, Unavailable,
    UnavailableReason, UserContext, UserId, UserScopeExt, UserScopeLayer, from_async_fn, from_fn,
    testing::{AsUser, Scripted},
};

type Ready = std::future::Ready<Result<Response<()>, Infallible>>;
type Inner = tower::util::ServiceFn<fn(Request<()>) -> Ready>;

async fn send<L, S, B>(layer: L, request: Request<()>) -> Result<UserContext, Rejection>
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    fn answer(request: Request<()>) -> Ready {
        let (head, ()) = request.into_parts();
        let mut response = Response::new(());
        if let Ok(context) = head.user_context().cloned() {
            response.extensions_mut().insert(context);
        }
        std::future::ready(Ok(response))
    }
    let inner: Inner = service_fn(answer);
    let response = layer.layer(inner).oneshot(request).await;
    let mut response = response.expect("infallible");
    let extensions = response.extensions_mut();
    extensions
        .remove::<UserContext>()
        .ok_or_else(|| extensions.remove().expect("a context or a reason"))
}

/// What came of it, in a word that can be compared.
fn verdict(answered: &Result<UserContext, Rejection>) -> String {
    match answered {
        Ok(context) => {
            let user = context.user_id().map_or("nobody", UserId::as_str);
            format!("{user} by {}", context.strategy())
        }
        Err(refused) => match refused.reason() {
            Reason::Nobody => "nobody".to_owned(),
            Reason::NotBelieved { strategy, .. } => format!("{strategy} not believed"),
            Reason::Invalid {
                strategy, invalid, ..
            } => {
                format!("{strategy} invalid: {:?}", invalid.reason())
            }
            Reason::Unavailable {
                strategy,
                unavailable,
                ..
            } => {
                format!("{strategy} unavailable: {:?}", unavailable.reason())
            }
            other => format!("{other:?}"),
        },
    }
}

/// Sends through a static list of this one strategy, and through a `Vec` of it.
macro_rules! both {
    ($strategy:expr, $request:expr) => {{
        let fallback = || Fallback::service("internal");
        let fixed = UserScopeLayer::builder()
            .strategy($strategy)
            .fallback(fallback())
            .context_only()
            .build()
            .expect("valid");
        let configured = UserScopeLayer::builder()
            .strategies([$strategy.boxed()])
            .fallback(fallback())
            .context_only()
            .build()
            .expect("valid");
        let fixed = verdict(&send(fixed, $request).await);
        let configured = verdict(&send(configured, $request).await);
        assert_eq!(fixed, configured, "a static list and a Vec agree");
        fixed
    }};
}

fn key(head: &http::request::Parts) -> Outcome {
    match head.headers.get("x-key").map(HeaderValue::as_bytes) {
        None => Outcome::Absent,
        Some(b"alices") => match UserId::try_from("alice") {
            Ok(id) => Identity::proved(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        },
        Some(b"down") => Unavailable::new(std::io::Error::other("down")).into(),
        Some(_) => Invalid::new(InvalidReason::Rejected("unknown")).into(),
    }
}

fn by_key() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_fn(Reads::header("x-key"), key).named("key")
}

/// The same, and it really waits.
fn by_key_waiting() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(Reads::header("x-key"), |head| {
        let outcome = key(head);
        async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            outcome
        }
    })
    .named("key")
}

fn with(key: Option<&'static str>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(key) = key {
        let key = HeaderValue::from_static(key);
        request.headers_mut().insert("x-key", key);
    }
    request
}

const INTERNAL: &str = "nobody by service_fallback";
const GOOD: Option<&str> = Some("alices");
const BAD: Option<&str> = Some("guessed");
const DOWN: Option<&str> = Some("down");

#[tokio::test]
async fn optional_changes_what_a_bad_credential_means_and_nothing_else() {
    let unknown = "key invalid: Rejected(\"unknown\")";
    for (sent, plainly, optionally) in [
        (GOOD, "alice by key", "alice by key"),
        (None, INTERNAL, INTERNAL),
        (BAD, unknown, INTERNAL),
        (DOWN, "key unavailable: Source", "key unavailable: Source"),
    ] {
        assert_eq!(both!(by_key(), with(sent)), plainly, "{sent:?}");
        assert_eq!(
            both!(by_key().optional(), with(sent)),
            optionally,
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn when_takes_a_strategy_out_of_the_list_for_some_requests() {
    let on_get = |head: &http::request::Parts| head.method == http::Method::GET;
    for (method, sent, expected) in [
        (http::Method::GET, GOOD, "alice by key"),
        (http::Method::POST, GOOD, INTERNAL),
        (http::Method::POST, BAD, INTERNAL),
        (http::Method::GET, BAD, "key invalid: Rejected(\"unknown\")"),
    ] {
        let request = || {
            let mut request = with(sent);
            *request.method_mut() = method.clone();
            request
        };
        assert_eq!(
            both!(by_key().when(on_get), request()),
            expected,
            "{method} {sent:?}"
        );
    }
}

#[tokio::test]
async fn named_is_what_contexts_and_refusals_call_it_and_the_last_name_counts() {
    assert_eq!(
        both!(by_key().named("a").named("b"), with(GOOD)),
        "alice by b"
    );
    assert_eq!(
        both!(by_key().named("b"), with(BAD)),
        "b invalid: Rejected(\"unknown\")"
    );
}

#[tokio::test(start_paused = true)]
async fn timeout_turns_a_late_answer_into_unavailable_and_leaves_the_others() {
    let late = |limit| {
        let reason = UnavailableReason::TimedOut { limit };
        format!("key unavailable: {reason:?}")
    };
    let (short, long) = (Duration::from_secs(9), Duration::from_secs(11));
    for (limit, expected) in [(short, late(short)), (long, "alice by key".to_owned())] {
        let seen = both!(by_key_waiting().timeout(limit), with(GOOD));
        assert_eq!(seen, expected, "a wait of 10 s within {limit:?}");
    }
    let at_once = both!(by_key().timeout(Duration::from_nanos(1)), with(GOOD));
    assert_eq!(
        at_once, "alice by key",
        "what is there at once is never late"
    );
    let optional = both!(by_key_waiting().timeout(short).optional(), with(GOOD));
    assert_eq!(optional, late(short), "and optional doesn't pass it over");
}

#[tokio::test]
async fn modifiers_keep_what_they_do_not_change() {
    let header = || {
        let header = TrustedHeader::new("x-key").only_if(|_| false);
        header.named("header").when(|_| true)
    };
    assert_eq!(
        both!(header(), with(GOOD)),
        "header not believed",
        "its presence"
    );
    let existing = || ExistingContext::new().named("outer").when(|_| true);
    let request = || Request::new(()).as_user("alice");
    assert_eq!(
        both!(existing(), request()),
        "alice by outer",
        "what it reads"
    );
    let lies = || Scripted::new(|_| Outcome::Absent).presence(Presence::Sent);
    assert_eq!(both!(lies().named("lies"), with(None)), "lies not believed");
    assert_eq!(
        both!(lies().optional(), with(None)),
        INTERNAL,
        "which optional takes back"
    );
}

/// The strategies that a configuration can name.
fn by_name(name: &str) -> Option<BoxStrategy> {
    match name {
        "key" => Some(by_key().boxed()),
        "context" => Some(ExistingContext::new().boxed()),
        "extension" => Some(FromExtension::<String>::new(|id| id.parse()).boxed()),
        _ => None,
    }
}

#[tokio::test]
async fn an_order_from_a_toml_text_is_the_order_of_the_list() {
    let request = || {
        let mut request = with(GOOD).as_user("bob");
        request.extensions_mut().insert("carol".to_owned());
        request
    };
    for (text, expected) in [
        (r#"order = ["key", "context", "extension"]"#, "alice by key"),
        (r#"order = ["context", "key"]"#, "bob by existing_context"),
        (
            r#"order = ["extension", "context", "key"]"#,
            "carol by extension",
        ),
    ] {
        let table: toml::Table = text.parse().expect("TOML");
        let order = table["order"].as_array().expect("an array");
        let order = order.iter().map(|name| name.as_str().expect("a string"));
        let list: Option<Vec<BoxStrategy>> = order.map(by_name).collect();
        let layer = UserScopeLayer::builder()
            .strategies(list.expect("known names"))
            .context_only()
            .build()
            .expect("valid");
        assert_eq!(verdict(&send(layer, request()).await), expected, "{text}");
    }
}
