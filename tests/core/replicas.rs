//! Revocations between replicas over any feed: what is revoked on one is revoked on all (B55), and a
//! replica that has lost the feed does what the application said (B58).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::body::Body;
use http::{Response, request::Parts};
use tokio::sync::watch;
use tower::{service_fn, util::BoxCloneService};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Principal, Rejection, UnavailableError, UserContext,
    UserId, UserScopeLayer,
    audit::AuditEvent,
    clock::Clock,
    context::{IdRules, ServiceName, Subject, TenantId, VisitorId},
    from_fn,
    middleware::{BoxUserScopeLayer, ResponseBody},
    open_scopes::{
        Credential, FeedFuture, Follower, OnFeedLost, OpenScopes, Revocation, RevocationFeed,
    },
    rejection::RejectionKind,
    testing::{Recorder, TestClock},
};

use crate::open_scopes;

const HOUR: Duration = Duration::from_secs(3_600);

/// Carries messages within the process, as long as the replica's line to it is not cut.
#[derive(Clone)]
struct Feed {
    record: watch::Sender<Vec<String>>,
    is_cut: watch::Sender<bool>,
    /// How many messages the replica at this line has taken in.
    taken_in: watch::Sender<usize>,
    panics: Arc<AtomicBool>,
}

impl Feed {
    fn new() -> Self {
        Self {
            record: watch::Sender::new(Vec::new()),
            is_cut: watch::Sender::new(false),
            taken_in: watch::Sender::new(0),
            panics: Arc::default(),
        }
    }

    /// The same feed with a line of its own.
    fn other_line(&self) -> Self {
        Self {
            record: self.record.clone(),
            ..Self::new()
        }
    }

    /// Cuts or mends the line.
    fn cut(&self, cut: bool) {
        self.is_cut.send_replace(cut);
    }

    /// Waits until the replica at this line has taken in all of the record.
    async fn has_delivered_all(&self) {
        let all = self.record.borrow().len();
        let mut taken_in = self.taken_in.subscribe();
        let _ = taken_in
            .wait_for(|number| *number == all)
            .await
            .expect("a sender");
    }

    fn write(&self, message: &str) {
        self.record
            .send_modify(|record| record.push(message.to_owned()));
    }
}

fn is_cut() -> UnavailableError {
    UnavailableError::new(std::io::Error::other("cut"))
}

impl RevocationFeed for Feed {
    fn publish(&self, message: String, _: Duration) -> FeedFuture<Result<(), UnavailableError>> {
        let feed = self.clone();
        Box::pin(async move {
            if *feed.is_cut.borrow() {
                return Err(is_cut());
            }
            feed.write(&message);
            Ok(())
        })
    }

    fn follow(&self, mut follower: Follower) -> FeedFuture<UnavailableError> {
        let (mut record, mut line) = (self.record.subscribe(), self.is_cut.subscribe());
        let (taken_in, panics) = (self.taken_in.clone(), Arc::clone(&self.panics));
        Box::pin(async move {
            assert!(!panics.load(Ordering::SeqCst), "as asked");
            let mut next = follower
                .position()
                .map_or(0, |at| at.parse().expect("a number"));
            loop {
                if *line.borrow_and_update() {
                    return is_cut();
                }
                let messages = record.borrow_and_update()[next..].to_vec();
                for message in messages {
                    next += 1;
                    if let Err(error) = follower.deliver(&message, next.to_string()) {
                        return UnavailableError::new(error);
                    }
                }
                follower.is_up_to_date();
                taken_in.send_replace(next);
                tokio::select! {
                    _ = record.changed() => {}
                    _ = line.changed() => {}
                }
            }
        })
    }
}

struct Replica {
    open: OpenScopes,
    layer: BoxUserScopeLayer,
    app: open_scopes::App,
    recorder: Recorder,
}

fn identity(head: &Parts) -> Outcome {
    let text = |name: &str| {
        let value = head.headers.get(name)?;
        Some(value.to_str().expect("text").to_owned())
    };
    let Some(principal) = text("x-principal") else {
        return Outcome::Absent;
    };
    let rules = IdRules::new().placeholders(["undefined"]);
    let principal: Principal = match principal.split_once(':').expect("a kind and an id") {
        ("user", id) => rules.user_id(id).expect("an id").into(),
        ("service", name) => name.parse::<ServiceName>().expect("a name").into(),
        ("visitor", id) => id.parse::<VisitorId>().expect("an id").into(),
        (kind, _) => panic!("no kind: {kind}"),
    };
    let mut identity = Identity::proved(principal);
    if let Some(tenant) = text("x-tenant") {
        identity = identity.with_tenant_id(tenant.parse::<TenantId>().expect("an id"));
    }
    let mut credential = Credential::new();
    if let Some(id) = text("x-session") {
        credential = credential.with_session_id(id);
    }
    if let Some(id) = text("x-token") {
        credential = credential.with_token_id(id);
    }
    if let Some(seconds) = text("x-issued-at") {
        let seconds = Duration::from_secs(seconds.parse().expect("a number"));
        credential = credential.with_issued_at(SystemTime::UNIX_EPOCH + seconds);
    }
    identity.with_attribute(credential).into()
}

impl Replica {
    fn of(open: OpenScopes, clock: &TestClock) -> Self {
        let recorder = Recorder::new();
        let layer = UserScopeLayer::builder()
            .strategy(from_fn(CredentialSource::header("x-principal"), identity))
            .clock(clock.clone())
            .observer(recorder.clone())
            .open_scopes(&open)
            .context_only()
            .boxed()
            .build()
            .expect("a valid configuration");
        let app = BoxCloneService::new(layer.layer(service_fn(open_scopes::events)));
        Self {
            open,
            layer,
            app,
            recorder,
        }
    }

    fn new(clock: &TestClock, feed: &Feed, on_lost: OnFeedLost) -> Self {
        let open = OpenScopes::with_clock(HOUR, clock.clone()).with_feed(feed.clone(), on_lost);
        Self::of(open, clock)
    }

    async fn ask(&self, headers: &[(&'static str, &str)]) -> Response<ResponseBody<Body>> {
        open_scopes::ask(&self.app, headers).await
    }

    async fn status(&self, headers: &[(&'static str, &str)]) -> u16 {
        self.ask(headers).await.status().as_u16()
    }

    async fn open(&self, headers: &[(&'static str, &str)]) -> ResponseBody<Body> {
        open_scopes::open(&self.app, headers).await
    }

    /// Renews a scope of alice's.
    async fn renew(&self, headers: &[(&'static str, &str)]) -> Result<UserContext, Rejection> {
        let alice = Identity::proved("alice".parse::<UserId>().expect("an id"));
        let context = UserContext::builder(alice).build();
        let (head, ()) = open_scopes::request(headers).into_parts();
        self.layer.renew_identity(&context, head).await
    }
}

/// What the stream has for its client now: nothing, or the reason of its end.
async fn end(body: &mut ResponseBody<Body>) -> Option<String> {
    let event = open_scopes::last(body).await?;
    let reason = event.strip_prefix("event: scope-ended\ndata: ");
    Some(reason.expect("the last event").trim_end().to_owned())
}

fn user(id: &str) -> Subject {
    Subject::new(id.parse::<UserId>().expect("an id"))
}

type Headers = &'static [(&'static str, &'static str)];

/// A revocation, a request that it is about, and one that it is not about.
type Case = (fn(SystemTime) -> Revocation, Headers, Headers);

#[tokio::test(start_paused = true)]
async fn b55_what_is_revoked_on_one_replica_is_revoked_on_all_and_nothing_else_is() {
    let alice: Headers = &[("x-principal", "user:alice")];
    let cases: &[Case] = &[
        (
            |_| Revocation::of_subject(user("alice")),
            alice,
            &[("x-principal", "user:bob")],
        ),
        (
            |_| Revocation::of_subject(user("alice")),
            alice,
            &[("x-principal", "user:alice"), ("x-tenant", "acme")],
        ),
        (
            |_| {
                let acme = "acme".parse::<TenantId>().expect("an id");
                Revocation::of_subject(user("alice").with_tenant_id(acme))
            },
            &[("x-principal", "user:alice"), ("x-tenant", "acme")],
            alice,
        ),
        // A user that the application's own rules allow.
        (
            |_| {
                let rules = IdRules::new().placeholders(["undefined"]);
                Revocation::of_subject(Subject::new(rules.user_id("None").expect("an id")))
            },
            &[("x-principal", "user:None")],
            alice,
        ),
        (
            |_| Revocation::of_subject(Subject::new("billing".parse::<ServiceName>().expect("it"))),
            &[("x-principal", "service:billing")],
            &[("x-principal", "user:billing")],
        ),
        (
            |_| Revocation::of_subject(Subject::new("v-1".parse::<VisitorId>().expect("an id"))),
            &[("x-principal", "visitor:v-1")],
            &[("x-principal", "visitor:v-2")],
        ),
        (
            |_| Revocation::of_subject(user("alice")).except_session("kept-secret"),
            &[("x-principal", "user:alice"), ("x-session", "other")],
            &[("x-principal", "user:alice"), ("x-session", "kept-secret")],
        ),
        (
            |_| Revocation::of_subject(user("alice")).only_session("ended"),
            &[("x-principal", "user:alice"), ("x-session", "ended")],
            &[("x-principal", "user:alice"), ("x-session", "other")],
        ),
        (
            |_| {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
                Revocation::of_subject(user("alice")).issued_before(time)
            },
            &[("x-principal", "user:alice"), ("x-issued-at", "999")],
            &[("x-principal", "user:alice"), ("x-issued-at", "1000")],
        ),
        (
            |_| Revocation::of_session("s \"1\""),
            &[("x-principal", "user:alice"), ("x-session", "s \"1\"")],
            &[("x-principal", "user:alice"), ("x-token", "s")],
        ),
        (
            |_| Revocation::of_token("t"),
            &[("x-principal", "user:alice"), ("x-token", "t")],
            &[("x-principal", "user:alice"), ("x-session", "t")],
        ),
    ];
    for (number, (revocation, revoked, others)) in cases.iter().enumerate() {
        let clock = TestClock::now();
        let feed = Feed::new();
        let lines = [feed.other_line(), feed.other_line(), feed.other_line()];
        let [a, b, c] = lines
            .each_ref()
            .map(|line| Replica::new(&clock, line, OnFeedLost::Refuse));
        for replica in [&a, &b, &c] {
            replica.open.connected().await;
        }
        let mut ends = [
            a.open(revoked).await,
            b.open(revoked).await,
            c.open(revoked).await,
        ];
        let mut stays = [
            a.open(others).await,
            b.open(others).await,
            c.open(others).await,
        ];
        assert_eq!(
            a.open.revoke(revocation(clock.now()).as_log_out()),
            Ok(1),
            "case {number}"
        );
        a.open.published().await;
        for line in &lines {
            line.has_delivered_all().await;
        }
        for (replica, body) in [&a, &b, &c].into_iter().zip(&mut ends) {
            assert_eq!(
                end(body).await.as_deref(),
                Some("logged_out"),
                "case {number}"
            );
            assert_eq!(replica.status(revoked).await, 401, "case {number}");
            assert_eq!(replica.status(others).await, 200, "case {number}");
        }
        for body in &mut stays {
            assert_eq!(end(body).await, None, "case {number}");
        }
        let text = lines[0].record.borrow().concat();
        assert!(!text.contains("secret"), "{text}");
    }
}

/// Alice's stream on a replica, with a session that another replica revokes.
const SESSION: Headers = &[("x-principal", "user:alice"), ("x-session", "s")];

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_or_begins_gets_what_it_has_missed() {
    let clock = TestClock::now();
    let here = Feed::new();
    let there = here.other_line();
    let a = Replica::new(&clock, &here, OnFeedLost::Refuse);
    let b = Replica::new(&clock, &there, OnFeedLost::Allow);
    b.open.connected().await;
    let mut body = b.open(SESSION).await;
    let mut other = b
        .open(&[("x-principal", "user:bob"), ("x-session", "r")])
        .await;
    there.cut(true);
    while b.open.is_connected() {
        tokio::task::yield_now().await;
    }
    // Revoked on both sides.
    a.open.revoke(Revocation::of_session("s")).expect("room");
    a.open.published().await;
    b.open.revoke(Revocation::of_token("t")).expect("room");
    assert_eq!(end(&mut body).await, None);
    there.cut(false);
    b.open.connected().await;
    b.open.published().await;
    assert_eq!(end(&mut body).await.as_deref(), Some("revoked"));
    assert_eq!(end(&mut other).await, None);
    here.has_delivered_all().await;
    assert_eq!(
        a.status(&[("x-principal", "user:alice"), ("x-token", "t")])
            .await,
        401
    );
    // Each message once, however often the line was cut.
    assert_eq!(here.record.borrow().len(), 2);

    let begins = Replica::new(&clock, &here.other_line(), OnFeedLost::Refuse);
    begins.open.connected().await;
    assert_eq!(begins.status(SESSION).await, 401);
    // What has been remembered for its time is not remembered anew.
    clock.advance(HOUR);
    let begins = Replica::new(&clock, &here.other_line(), OnFeedLost::Refuse);
    begins.open.connected().await;
    assert_eq!(begins.status(SESSION).await, 200);
}

#[tokio::test(start_paused = true)]
async fn b58_without_its_feed_a_replica_goes_on_or_refuses_as_was_said() {
    for (on_lost, expected) in [(OnFeedLost::Allow, 200), (OnFeedLost::Refuse, 503)] {
        let clock = TestClock::now();
        let feed = Feed::new();
        feed.cut(true);
        let replica = Replica::new(&clock, &feed, on_lost);
        let unknown = || {
            let events = replica.recorder.events();
            let unknown =
                |event: &&AuditEvent<'_>| matches!(event, AuditEvent::RevocationsUnknown { .. });
            events.iter().filter(unknown).count()
        };
        // Before it was connected for the first time.
        assert!(!replica.open.is_connected());
        let response = replica.ask(SESSION).await;
        assert_eq!(response.status(), expected);
        assert_eq!(unknown(), usize::from(expected == 200));
        if expected == 503 {
            let rejection = response.extensions().get::<Rejection>().expect("a refusal");
            assert!(matches!(
                rejection.kind(),
                RejectionKind::RevocationsUnknown
            ));
            assert_eq!(rejection.reason(), "revocations_unknown");
        }
        // A renewal is as a request.
        let renewed = replica.renew(SESSION).await;
        let refused = renewed.err().map(|refused| refused.status().as_u16());
        assert_eq!(refused, Some(expected).filter(|status| *status == 503));
        assert_eq!(unknown(), 2 * usize::from(expected == 200));
        feed.cut(false);
        replica.open.connected().await;
        let seen = unknown();
        let mut body = replica.open(SESSION).await;
        feed.panics.store(true, Ordering::SeqCst);
        feed.cut(true);
        while replica.open.is_connected() {
            tokio::task::yield_now().await;
        }
        assert_eq!(replica.status(SESSION).await, expected);
        // What is revoked here counts here at once.
        assert_eq!(end(&mut body).await, None);
        replica
            .open
            .revoke(Revocation::of_session("s"))
            .expect("room");
        assert_eq!(end(&mut body).await.as_deref(), Some("revoked"));
        // A feed that panics is a feed that is lost.
        feed.cut(false);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!replica.open.is_connected());
        feed.panics.store(false, Ordering::SeqCst);
        replica.open.connected().await;
        assert_eq!(replica.status(&[("x-principal", "user:alice")]).await, 200);
        assert_eq!(replica.status(SESSION).await, 401);
        assert_eq!(unknown(), seen + usize::from(expected == 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_not_be_read_is_skipped() {
    let clock = TestClock::now();
    let sender = Feed::new();
    let a = Replica::new(&clock, &sender, OnFeedLost::Refuse);
    a.open.revoke(Revocation::of_token("good")).expect("room");
    a.open.published().await;
    let good = sender.record.borrow()[0].clone();
    let user = good.replace(
        r#""token":{"id":"good"}"#,
        r#""user":{"id":"alice","tenant":null}"#,
    );
    assert_ne!(user, good);
    let odd = [
        String::new(),
        "null".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("\"version\":1", "\"version\":1,\"more\":0"),
        good.replace("\"revoked\"", "\"elsewhere\""),
        good.replace("\"token\"", "\"everybody\""),
        user.replace("alice", "al\\u0000ice"),
        user.replace("alice", &"a".repeat(257)),
        user.replace("\"tenant\":null", "\"tenant\":\"\""),
        good.replace("good", &"a".repeat(OpenScopes::MAX_MESSAGE)),
        "[".repeat(OpenScopes::MAX_MESSAGE),
    ];
    let feed = Feed::new();
    for message in &odd {
        assert_ne!(*message, good);
        feed.write(message);
    }
    let b = Replica::new(&clock, &feed, OnFeedLost::Refuse);
    b.open.connected().await;
    let with_token: Headers = &[("x-principal", "user:alice"), ("x-token", "good")];
    assert_eq!(b.status(with_token).await, 200);
    feed.write(&user);
    feed.has_delivered_all().await;
    assert_eq!(b.status(with_token).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_can_remember_no_more_counts_as_lost_until_it_can() {
    let clock = TestClock::now();
    let feed = Feed::new();
    let b = Replica::new(&clock, &feed.other_line(), OnFeedLost::Refuse);
    let a = Replica::new(&clock, &feed, OnFeedLost::Refuse);
    b.open.connected().await;
    let mut body = b.open(SESSION).await;
    feed.cut(true);
    for number in 0..OpenScopes::MAX_REVOCATIONS {
        b.open
            .revoke(Revocation::of_token(number.to_string()))
            .expect("room");
    }
    a.open.revoke(Revocation::of_session("s")).expect("room");
    feed.cut(false);
    while b.open.is_connected() {
        tokio::task::yield_now().await;
    }
    // What is open has ended all the same.
    assert_eq!(end(&mut body).await.as_deref(), Some("revoked"));
    assert_eq!(b.status(&[("x-principal", "user:bob")]).await, 503);
    clock.advance(Duration::from_secs(3_599));
    assert!(!b.open.is_connected());
    clock.advance(Duration::from_secs(1));
    b.open.connected().await;
    assert_eq!(b.status(&[("x-principal", "user:bob")]).await, 200);
}
