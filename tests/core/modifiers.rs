//! Modifiers of strategies work the same in static lists and in lists from configuration.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, FromExtension, Identity, InvalidError,
    MaybeFuture, Outcome, Rejection, TrustedHeader, UnavailableError, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    clock::Clock,
    from_async_fn, from_fn,
    rejection::RejectionKind,
    strategy::{BoxStrategy, InvalidErrorKind, Presence, Strategy, UnavailableErrorKind},
    testing::{AsUser, Scripted, TestClock},
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
    let status = response.status();
    let extensions = response.extensions_mut();
    let answered = extensions
        .remove::<UserContext>()
        .ok_or_else(|| extensions.remove().expect("a context or a reason"));
    let expected = answered
        .as_ref()
        .map_or_else(Rejection::status, |_| StatusCode::OK);
    assert_eq!(status, expected, "the status that was sent is the reason's");
    answered
}

/// The result of a request, as text that can be compared.
fn verdict(answered: &Result<UserContext, Rejection>) -> String {
    match answered {
        Ok(context) => {
            let user = context.user_id().map_or("nobody", UserId::as_str);
            format!("{user} by {}", context.strategy())
        }
        Err(refused) => {
            let why = match refused.kind() {
                RejectionKind::NoCredential => "nobody".to_owned(),
                RejectionKind::NotAccepted { strategy, .. } => format!("{strategy} not accepted"),
                RejectionKind::Invalid {
                    strategy, invalid, ..
                } => {
                    format!("{strategy} invalid: {:?}", invalid.kind())
                }
                RejectionKind::Unavailable {
                    strategy,
                    unavailable,
                    ..
                } => {
                    format!("{strategy} unavailable: {:?}", unavailable.kind())
                }
                other => format!("{other:?}"),
            };
            format!("{}: {why}", refused.status().as_u16())
        }
    }
}

/// Sends through a static list of this strategy, through a list of it in a box, and through a
/// `Vec`.
macro_rules! everywhere {
    ($strategy:expr, $request:expr) => {{
        macro_rules! through {
            ($with:ident($list:expr)) => {
                verdict(
                    &send(
                        UserScopeLayer::builder()
                            .$with($list)
                            .fallback(Fallback::service("internal"))
                            .context_only()
                            .build()
                            .expect("valid"),
                        $request,
                    )
                    .await,
                )
            };
        }
        let fixed = through!(strategy($strategy));
        let boxed = through!(strategy($strategy.boxed()));
        assert_eq!(boxed, fixed, "a box changes nothing");
        let configured = through!(strategies([$strategy.boxed()]));
        assert_eq!(configured, fixed, "a static list and a Vec agree");
        fixed
    }};
}

fn key(head: &Parts) -> Outcome {
    match head.headers.get("x-key").map(HeaderValue::as_bytes) {
        None => Outcome::Absent,
        Some(b"alices") => match UserId::try_from("alice") {
            Ok(id) => Identity::proved(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        },
        Some(b"down") => UnavailableError::new(std::io::Error::other("down")).into(),
        Some(_) => InvalidError::new(InvalidErrorKind::Rejected("unknown")).into(),
    }
}

fn by_key() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_fn(CredentialSource::header("x-key"), key).named("key")
}

/// The same strategy, with a future that is pending at first.
fn by_key_waiting() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(CredentialSource::header("x-key"), |head| {
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
    let unknown = "401: key invalid: Rejected(\"unknown\")";
    for (sent, plainly, optionally) in [
        (GOOD, "alice by key", "alice by key"),
        (None, INTERNAL, INTERNAL),
        (BAD, unknown, INTERNAL),
        (
            DOWN,
            "503: key unavailable: Source",
            "503: key unavailable: Source",
        ),
    ] {
        assert_eq!(everywhere!(by_key(), with(sent)), plainly, "{sent:?}");
        assert_eq!(
            everywhere!(by_key().optional(), with(sent)),
            optionally,
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn when_takes_a_strategy_out_of_the_list_for_some_requests() {
    let on_get = |head: &Parts| head.method == http::Method::GET;
    for (method, sent, expected) in [
        (http::Method::GET, GOOD, "alice by key"),
        (http::Method::POST, GOOD, INTERNAL),
        (http::Method::POST, BAD, INTERNAL),
        (
            http::Method::GET,
            BAD,
            "401: key invalid: Rejected(\"unknown\")",
        ),
    ] {
        let request = || {
            let mut request = with(sent);
            *request.method_mut() = method.clone();
            request
        };
        assert_eq!(
            everywhere!(by_key().when(on_get), request()),
            expected,
            "{method} {sent:?}"
        );
    }
}

#[tokio::test]
async fn named_is_what_contexts_and_refusals_call_it_and_the_last_name_counts() {
    assert_eq!(
        everywhere!(by_key().named("a").named("b"), with(GOOD)),
        "alice by b"
    );
    assert_eq!(
        everywhere!(by_key().named("b"), with(BAD)),
        "401: b invalid: Rejected(\"unknown\")"
    );
}

#[tokio::test(start_paused = true)]
async fn timeout_turns_a_late_answer_into_unavailable_and_leaves_the_others() {
    let late = |limit| {
        let reason = UnavailableErrorKind::TimedOut { limit };
        format!("503: key unavailable: {reason:?}")
    };
    let alice = || "alice by key".to_owned();
    let [short, just, long] = [9, 10, 11].map(Duration::from_secs);
    for (limit, expected) in [(short, late(short)), (just, alice()), (long, alice())] {
        let seen = everywhere!(by_key_waiting().timeout(limit), with(GOOD));
        assert_eq!(seen, expected, "a wait of 10 s within {limit:?}");
    }
    let at_once = everywhere!(by_key().timeout(Duration::from_nanos(1)), with(GOOD));
    assert_eq!(
        at_once, "alice by key",
        "what is there at once is never late"
    );
    let optional = everywhere!(by_key_waiting().timeout(short).optional(), with(GOOD));
    assert_eq!(optional, late(short), "and optional doesn't pass it over");
}

/// An application's strategy may call another one and forward none of its other methods.
#[tokio::test(start_paused = true)]
async fn timeout_is_kept_whoever_waits_for_the_answer() {
    let limit = Duration::from_secs(9);
    let (head, ()) = with(GOOD).into_parts();
    let MaybeFuture::Future(asked) = by_key_waiting().timeout(limit).resolve(&head) else {
        panic!("it waits");
    };
    let Outcome::Unavailable(late) = asked.await else {
        panic!("it takes 10 s");
    };
    assert_eq!(late.kind(), UnavailableErrorKind::TimedOut { limit });
}

#[tokio::test]
async fn modifiers_keep_what_they_do_not_change() {
    let header = || {
        let header = TrustedHeader::new("x-key").only_if(|_| false);
        header.named("header").when(|_| true)
    };
    assert_eq!(
        everywhere!(header(), with(GOOD)),
        "401: header not accepted",
        "its presence"
    );
    let existing = || ExistingContext::new().named("outer").when(|_| true);
    let request = || Request::new(()).as_user("alice");
    assert_eq!(
        everywhere!(existing(), request()),
        "alice by outer",
        "what it reads"
    );
    let lies = || Scripted::new(|_| Outcome::Absent).presence(Presence::Sent);
    assert_eq!(
        everywhere!(lies().named("lies"), with(None)),
        "401: lies not accepted"
    );
    assert_eq!(
        everywhere!(lies().optional(), with(None)),
        INTERNAL,
        "which optional takes back"
    );
}

fn by_extension() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    FromExtension::<String>::new(|id| id.parse())
}

/// The strategies that a configuration can name.
fn by_name(name: &str) -> Option<BoxStrategy> {
    match name {
        "key" => Some(by_key_waiting().boxed()),
        "context" => Some(ExistingContext::new().boxed()),
        "extension" => Some(by_extension().boxed()),
        _ => None,
    }
}

fn from_json(text: &str) -> Vec<BoxStrategy> {
    let table: serde_json::Value = text.parse().expect("JSON");
    let order = table["order"].as_array().expect("an array");
    let order = order.iter().map(|name| name.as_str().expect("a string"));
    let list: Option<Vec<BoxStrategy>> = order.map(by_name).collect();
    list.expect("known names")
}

/// A request with some of three credentials: a key, a context, a value in the extensions.
fn sent(key: Option<&'static str>, context: bool, extension: Option<&str>) -> Request<()> {
    let mut request = with(key);
    if context {
        request = request.as_user("bob");
    }
    if let Some(extension) = extension {
        request.extensions_mut().insert(extension.to_owned());
    }
    request
}

/// Each combination of the arguments of `sent`.
fn credentials() -> impl Iterator<Item = (Option<&'static str>, bool, Option<&'static str>)> {
    [None, GOOD, BAD, DOWN].into_iter().flat_map(|key| {
        [false, true].into_iter().flat_map(move |context| {
            [None, Some("bob"), Some("")].map(move |value| (key, context, value))
        })
    })
}

macro_rules! context_only {
    ($builder:expr) => {
        $builder.context_only().build().expect("valid")
    };
}

#[tokio::test(start_paused = true)]
async fn an_order_from_a_json_text_is_the_order_of_the_list() {
    for (text, expected) in [
        (
            r#"{"order": ["key", "context", "extension"]}"#,
            "alice by key",
        ),
        (
            r#"{"order": ["context", "key"]}"#,
            "bob by existing_context",
        ),
        (
            r#"{"order": ["extension", "context", "key"]}"#,
            "carol by extension",
        ),
    ] {
        let layer = context_only!(UserScopeLayer::builder().strategies(from_json(text)));
        let request = sent(GOOD, true, Some("carol"));
        assert_eq!(verdict(&send(layer, request).await), expected, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_from_json_gives_the_same_results_as_a_static_one_in_any_order_under_either_rule() {
    let (key, context, extension) = (by_key_waiting, ExistingContext::new, by_extension);
    let mut verdicts = BTreeSet::new();
    /// Sends every combination through this order of the three strategies, from code and from JSON.
    macro_rules! orders {
        ($($a:ident, $b:ident, $c:ident;)*) => {$(
            let text = concat!(
                r#"{"order": [""#, stringify!($a), r#"", ""#, stringify!($b), r#"", ""#, stringify!($c), r#""]}"#
            );
            let fixed = || UserScopeLayer::builder().strategy($a()).strategy($b()).strategy($c());
            let configured = || UserScopeLayer::builder().strategies(from_json(text));
            for (a_key, a_context, a_value) in credentials() {
                let what = format!("{text} {a_key:?}, {a_context}, {a_value:?}");
                let request = || sent(a_key, a_context, a_value);
                let first = verdict(&send(context_only!(fixed()), request()).await);
                let from_text = send(context_only!(configured()), request()).await;
                assert_eq!(verdict(&from_text), first, "{what}");

                let all = context_only!(fixed().unanimous());
                let all = verdict(&send(all, request()).await);
                let from_text = context_only!(configured().unanimous());
                let from_text = send(from_text, request()).await;
                assert_eq!(verdict(&from_text), all, "{what}, unanimous");
                verdicts.extend([first, all]);
            }
        )*};
    }
    orders! {
        key, context, extension;
        key, extension, context;
        context, key, extension;
        context, extension, key;
        extension, key, context;
        extension, context, key;
    }
    for kind in [
        "alice by key",
        "bob by existing_context",
        "bob by extension",
        "400: ",
        "401: nobody",
        "401: key invalid",
        "401: Conflict",
        "503: ",
    ] {
        let came = verdicts.iter().any(|verdict| verdict.starts_with(kind));
        assert!(came, "{kind} is among {verdicts:?}");
    }
}

/// Finds a user in every request, and claims to read one header only.
#[derive(Clone, Debug)]
struct OfOneHeader;

impl Strategy for OfOneHeader {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "of_one_header"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        let alice = UserId::try_from("alice").expect("an id");
        MaybeFuture::ready(Identity::proved(alice).into())
    }

    fn presence(&self, head: &Parts) -> Presence {
        head.headers.contains_key("x-key").into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some(vec![HeaderName::from_static("x-key")])
    }
}

#[tokio::test]
async fn a_strategy_is_asked_only_about_requests_that_may_have_one_of_its_headers() {
    async fn check<S: Strategy + Send + Sync + 'static>(what: &str, strategy: impl Fn() -> S)
    where
        S::Future: Send + 'static,
    {
        for (sent, expected) in [
            (None, "401: nobody"),
            (Some("x-key"), "alice by of_one_header"),
            // A name that an upstream would treat as equal.
            (Some("x_key"), "alice by of_one_header"),
        ] {
            let request = || {
                let mut request = Request::new(());
                if let Some(name) = sent {
                    let value = HeaderValue::from_static("k");
                    request.headers_mut().insert(name, value);
                }
                request
            };
            let listed = UserScopeLayer::builder().strategy(strategy());
            let listed = listed.context_only().build().expect("a layer");
            let answered = send(listed, request()).await;
            assert_eq!(verdict(&answered), expected, "{what}, sent {sent:?}");

            let configured = UserScopeLayer::builder().strategies([strategy().boxed()]);
            let configured = configured.context_only().build().expect("a layer");
            let answered = send(configured, request()).await;
            assert_eq!(verdict(&answered), expected, "{what}, boxed, sent {sent:?}");
        }
    }
    check("plain", || OfOneHeader).await;
    let closure = |_: &Parts| {
        let alice = UserId::try_from("alice").expect("an id");
        Identity::proved(alice).into()
    };
    check("closure", || {
        from_fn(CredentialSource::only_header("x-key"), closure).named("of_one_header")
    })
    .await;
    check("async closure", || {
        from_async_fn(CredentialSource::only_header("x-key"), move |head| {
            std::future::ready(closure(head))
        })
        .named("of_one_header")
    })
    .await;
    check("named", || OfOneHeader.named("of_one_header")).await;
    check("optional", || OfOneHeader.optional()).await;
    check("when", || OfOneHeader.when(|_| true)).await;
    check("timeout", || OfOneHeader.timeout(Duration::from_secs(1))).await;
}

/// The names of the headers that reach the inner service, or the rejection.
async fn left<L, S, B>(layer: L, request: Request<()>) -> String
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    fn answer(request: Request<()>) -> Ready {
        let (head, ()) = request.into_parts();
        let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        let names = names.join(" ");
        let mut response = Response::new(());
        response.extensions_mut().insert(names);
        std::future::ready(Ok(response))
    }
    let inner: Inner = service_fn(answer);
    let mut response = layer
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible");
    let extensions = response.extensions_mut();
    match extensions.remove::<String>() {
        Some(names) => names,
        None => verdict(&Err(extensions.remove().expect("a reason"))),
    }
}

#[tokio::test(start_paused = true)]
async fn strategies_before_configured_ones_keep_every_promise_of_theirs() {
    let header = |name, is_trusted: bool| {
        TrustedHeader::new(name)
            .only_if(move |_| is_trusted)
            .named(name)
    };
    let sent = || {
        let mut request = Request::new(());
        for name in ["x-a", "x-b"] {
            let alice = HeaderValue::from_static("alice");
            request.headers_mut().insert(name, alice);
        }
        request
    };
    for (trust_a, trust_b, first, all) in [
        (true, true, "x-a", "x-a x-b"),
        (true, false, "x-a", "x-a"),
        (false, true, "x-b", "x-b"),
        (
            false,
            false,
            "401: x-a not accepted",
            "401: x-a not accepted",
        ),
    ] {
        let a = || header("x-a", trust_a);
        let b = || header("x-b", trust_b);
        /// The same two strategies in this form of list, at the front and after one that waits.
        macro_rules! check {
            ($what:literal: $($list:tt)*) => {{
                let builder = || UserScopeLayer::builder().fallback(Fallback::service("internal"));
                let waiting = || builder().strategy(by_key_waiting());
                let configured = || builder().strategies([by_key_waiting().boxed()]);
                let what = format!("{}: {trust_a}, {trust_b}", $what);
                for (form, found, expected) in [
                    ("at once", left(context_only!(builder()$($list)*), sent()).await, first),
                    ("waiting", left(context_only!(waiting()$($list)*), sent()).await, first),
                    ("configured", left(context_only!(configured()$($list)*), sent()).await, first),
                    (
                        "unanimous",
                        left(context_only!(waiting()$($list)*.unanimous()), sent()).await,
                        all,
                    ),
                ] {
                    assert_eq!(found, expected, "{what}, {form}");
                }
            }};
        }
        check!("fixed": .strategy(a()).strategy(b()));
        check!("configured": .strategies([a().boxed(), b().boxed()]));
        check!("fixed, then configured": .strategy(a()).strategies([b().boxed()]));
        check!("configured, then fixed": .strategies([a().boxed()]).strategy(b()));
        check!("configured twice": .strategies([a().boxed()]).strategies([b().boxed()]));
    }
}

#[tokio::test]
async fn a_closures_credential_keeps_a_fallback_from_acting_wherever_it_is() {
    let absent = |_: &Parts| Outcome::Absent;
    for (what, reads) in [
        ("a header", CredentialSource::header("x-key")),
        ("only a header", CredentialSource::only_header("x-key")),
        ("an extension", CredentialSource::extension::<u8>()),
        (
            "a predicate",
            CredentialSource::predicate(|head| head.headers.contains_key("x-key")),
        ),
    ] {
        let mut sent = with(GOOD);
        sent.extensions_mut().insert(7_u8);
        let found = everywhere!(from_fn(reads.clone(), absent), sent.clone());
        assert_eq!(found, "401: from_fn not accepted", "{what}");
        let found = everywhere!(from_fn(reads.clone(), absent), Request::new(()));
        assert_eq!(found, INTERNAL, "{what}, not sent");
    }
}

/// Names one header and reads another one too.
#[derive(Clone, Debug)]
struct LeavesOneOut {
    scrubs: bool,
}

impl Strategy for LeavesOneOut {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "leaves_one_out"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready(Outcome::Absent)
    }

    fn presence(&self, head: &Parts) -> Presence {
        (!self.scrubs && head.headers.contains_key("x-other")).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some(vec![HeaderName::from_static("x-key")])
    }

    fn scrub(
        &self,
        head: &mut Parts,
        _: bool,
        _: &mut dyn FnMut(tower_user_scope::strategy::Stripped<'_>),
    ) {
        if self.scrubs {
            head.headers.remove("x-other");
        }
    }
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_strategy_that_leaves_out_one_of_its_headers_is_found_by_the_first_request_with_it() {
    async fn check<L, S, B>(what: &str, expected: &str, layer: L)
    where
        L: Layer<Inner, Service = S> + Send + 'static,
        S: Service<Request<()>, Response = Response<B>, Error = Infallible, Future: Send>
            + Send
            + 'static,
        B: Send + 'static,
    {
        let mut request = Request::new(());
        let value = HeaderValue::from_static("x");
        request.headers_mut().insert("x-other", value);
        let asked = tokio::spawn(send(layer, request)).await;
        let panic = asked.expect_err("it panics").into_panic();
        let message = panic.downcast_ref::<String>().expect("a message");
        let expected = format!("`leaves_one_out` {expected}");
        assert!(message.contains(&expected), "{what}: {message}");
    }
    for (scrubs, expected) in [(false, "finds its credential"), (true, "removes headers")] {
        let builder = UserScopeLayer::builder;
        let listed = builder().strategy(LeavesOneOut { scrubs });
        let listed = listed.context_only().build().expect("valid");
        check("listed", expected, listed).await;
        let configured = builder().strategies([LeavesOneOut { scrubs }.boxed()]);
        let configured = configured.context_only().build().expect("valid");
        check("configured", expected, configured).await;
    }
}

/// Returns `Absent` if it has the clock of the test, and `Invalid` without a clock.
#[derive(Clone, Debug, Default)]
struct ByClock(Option<Arc<dyn Clock>>);

impl Strategy for ByClock {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "by_clock"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        let now = self.0.as_deref().map(Clock::now);
        MaybeFuture::ready(if now == Some(SystemTime::UNIX_EPOCH) {
            Outcome::Absent
        } else {
            InvalidError::new(InvalidErrorKind::Rejected("another_clock")).into()
        })
    }

    fn presence(&self, _: &Parts) -> Presence {
        Presence::NotSent
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.0 = Some(Arc::clone(clock));
    }
}

#[tokio::test]
async fn each_strategy_of_a_list_has_the_layers_clock() {
    let layer = UserScopeLayer::builder()
        .strategy(ByClock::default().named("first"))
        .strategy(ByClock::default().named("second"))
        .strategies(["third", "fourth"].map(|name| ByClock::default().named(name).boxed()))
        .strategy(ByClock::default().named("last"))
        .clock(TestClock::at(SystemTime::UNIX_EPOCH))
        .context_only()
        .build()
        .expect("valid");
    let answered = send(layer, Request::new(())).await;
    assert_eq!(verdict(&answered), "401: nobody");
}
