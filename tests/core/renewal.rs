//! B56: an open scope is renewed with a fresh credential of the same subject, and of no other.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use axum::body::Body;
use futures::{FutureExt, poll};
use http::{Request, request::Parts};
use http_body_util::BodyExt;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Rejection, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    audit::AuditEvent,
    clock::Clock,
    context::{Subject, TenantId, ThreadId},
    from_fn,
    middleware::{BoxUserScopeLayer, ResponseBody},
    open_scopes::{Credential, OpenScopes, Revocation},
    rejection::RejectionKind,
    scope::EndReason,
    testing::{Recorder, TestClock},
};

use crate::open_scopes;

const MINUTE: Duration = Duration::from_secs(60);

/// Reads `x-user`, and what else its credential says: `x-lasts` in seconds after `start`, `x-token`,
/// `x-tenant`, `x-actor`, `x-thread`, and whether it is only asserted.
fn sender(start: SystemTime) -> impl Fn(&Parts) -> Outcome + Send + Sync {
    move |head| {
        let text = |name: &str| {
            let value = head.headers.get(name)?;
            Some(value.to_str().expect("text"))
        };
        let Some(user) = text("x-user") else {
            return Outcome::Absent;
        };
        let user: UserId = user.parse().expect("an id");
        let mut identity = match text("x-asserted") {
            Some(_) => Identity::asserted(user),
            None => Identity::proved(user),
        };
        if let Some(seconds) = text("x-lasts") {
            let lasts = Duration::from_secs(seconds.parse().expect("a number"));
            identity = identity.with_expires_at(start + lasts);
        }
        if let Some(token) = text("x-token") {
            identity = identity.with_attribute(Credential::new().with_token_id(token));
        }
        if let Some(tenant) = text("x-tenant") {
            identity = identity.with_tenant_id(tenant.parse::<TenantId>().expect("an id"));
        }
        if let Some(actor) = text("x-actor") {
            identity = identity.with_actor(actor.parse::<UserId>().expect("an id"));
        }
        if let Some(thread) = text("x-thread") {
            identity = identity.with_thread_id(thread.parse::<ThreadId>().expect("an id"));
        }
        identity.into()
    }
}

type Headers = &'static [(&'static str, &'static str)];

fn head(headers: Headers) -> Parts {
    open_scopes::request(headers).into_parts().0
}

/// A layer, what it knows, and what it reports.
struct Setup {
    layer: BoxUserScopeLayer,
    clock: TestClock,
    scopes: OpenScopes,
    events: Recorder,
}

/// A stream that is open, and the context that its handler got.
struct Open {
    context: UserContext,
    body: ResponseBody<Body>,
}

impl Setup {
    fn new() -> Self {
        let clock = TestClock::now();
        let scopes = OpenScopes::with_clock(60 * MINUTE, clock.clone());
        let events = Recorder::new();
        let layer = UserScopeLayer::builder()
            .strategy(from_fn(
                CredentialSource::header("x-user"),
                sender(clock.now()),
            ))
            .clock(clock.clone())
            .end_scopes_at_expiry()
            .open_scopes(&scopes)
            .observer(events.clone())
            .context_only()
            .boxed()
            .build()
            .expect("a valid configuration");
        Self {
            layer,
            clock,
            scopes,
            events,
        }
    }

    async fn open(&self, headers: Headers) -> Open {
        let service = self.layer.layer(service_fn(async |request: Request<()>| {
            let context = request.user_context().expect("inside the layer").clone();
            let Ok(mut response) = open_scopes::events(request).await;
            response.extensions_mut().insert(context);
            Ok::<_, Infallible>(response)
        }));
        let Ok(response) = service.oneshot(open_scopes::request(headers)).await;
        assert_eq!(response.status(), 200);
        let context = response.extensions().get::<UserContext>().cloned();
        let mut body = response.into_body();
        body.frame().await.expect("a frame").expect("no error");
        Open {
            context: context.expect("of the handler"),
            body,
        }
    }

    async fn renew(&self, open: &Open, headers: Headers) -> Result<UserContext, Rejection> {
        self.layer
            .renew_identity(&open.context, head(headers))
            .await
    }
}

impl Open {
    /// What the stream has for its client now: nothing, or the last event.
    async fn last(&mut self) -> Option<String> {
        open_scopes::last(&mut self.body).await
    }
}

const ALICE: Headers = &[("x-user", "alice"), ("x-lasts", "60"), ("x-token", "old")];
const FRESH: Headers = &[("x-user", "alice"), ("x-lasts", "180"), ("x-token", "new")];

#[tokio::test]
async fn b56_a_renewed_scope_ends_with_its_fresh_credential() {
    let setup = Setup::new();
    let mut alice = setup.open(ALICE).await;
    let mut bob = setup.open(&[("x-user", "bob"), ("x-lasts", "60")]).await;
    let mut ended = Box::pin(alice.context.ended());
    assert!(poll!(&mut ended).is_pending());
    assert_eq!(alice.last().await, None);

    let fresh = setup.renew(&alice, FRESH).await.expect("the same subject");
    assert_eq!(fresh.request_id(), alice.context.request_id());
    let of = |context: &UserContext| context.attributes().get::<Credential>().cloned();
    assert_eq!(of(&fresh).expect("one").token_id(), Some("new"));
    // Contexts never change.
    assert_eq!(of(&alice.context).expect("one").token_id(), Some("old"));

    setup.clock.advance(MINUTE);
    assert_eq!(alice.last().await, None);
    assert!(poll!(&mut ended).is_pending());
    assert!(bob.last().await.is_some(), "nobody else's end has moved");
    // Work of the scope goes on with the fresh context.
    let work = async |_: UserContext| Ok::<_, Infallible>(());
    let done = setup.layer.run("message", &fresh, work).await;
    assert!(done.is_ok());
    let stale = setup.layer.run("message", &alice.context, work).await;
    assert_eq!(stale.expect_err("expired").status(), 401);

    setup.clock.advance(2 * MINUTE);
    let event = alice.last().await;
    assert_eq!(
        event.as_deref(),
        Some("event: scope-ended\ndata: expired\n\n")
    );
    assert_eq!(ended.now_or_never(), Some(EndReason::Expired));
    assert_eq!(fresh.ended().now_or_never(), Some(EndReason::Expired));
}

#[tokio::test]
async fn an_end_may_move_forward_back_and_away() {
    let setup = Setup::new();
    let mut alice = setup.open(ALICE).await;
    let no_end: Headers = &[("x-user", "alice")];
    setup.renew(&alice, no_end).await.expect("alice");
    setup.clock.advance(MINUTE);
    assert_eq!(alice.last().await, None);
    let soon: Headers = &[("x-user", "alice"), ("x-lasts", "61")];
    setup.renew(&alice, soon).await.expect("alice");
    assert_eq!(alice.last().await, None);
    setup.clock.advance(Duration::from_secs(1));
    assert!(alice.last().await.is_some());
}

/// The fresh credential, and why it is refused.
type Case = (Headers, fn(&RejectionKind) -> bool, u16);

#[tokio::test]
async fn b56_a_credential_of_anybody_else_renews_nothing_and_is_audited() {
    let other: fn(&RejectionKind) -> bool = |kind| matches!(kind, RejectionKind::OtherSubject);
    let cases: &[Case] = &[
        (&[("x-user", "bob"), ("x-lasts", "180")], other, 403),
        (
            &[
                ("x-user", "alice"),
                ("x-tenant", "acme"),
                ("x-lasts", "180"),
            ],
            other,
            403,
        ),
        (
            &[
                ("x-user", "alice"),
                ("x-actor", "admin"),
                ("x-lasts", "180"),
            ],
            other,
            403,
        ),
        (
            &[("x-user", "alice"), ("x-asserted", "1"), ("x-lasts", "180")],
            |kind| matches!(kind, RejectionKind::Evidence(_)),
            401,
        ),
        (
            &[
                ("x-user", "alice"),
                ("x-thread", "another"),
                ("x-lasts", "180"),
            ],
            |kind| matches!(kind, RejectionKind::Correlation(_)),
            400,
        ),
        (&[], |kind| matches!(kind, RejectionKind::NoCredential), 401),
    ];
    for (number, (headers, is_expected, status)) in cases.iter().enumerate() {
        let setup = Setup::new();
        let mut alice = setup
            .open(&[("x-user", "alice"), ("x-lasts", "60"), ("x-thread", "one")])
            .await;
        drop(setup.events.take());
        let refused = setup.renew(&alice, headers).await.expect_err("refused");
        assert!(is_expected(refused.kind()), "case {number}: {refused}");
        assert_eq!(refused.status(), *status, "case {number}");
        let events = setup.events.take();
        let audited = events.iter().find_map(|event| match event {
            AuditEvent::Refused {
                request_id, work, ..
            } => Some((request_id.as_deref().cloned(), *work)),
            _ => None,
        });
        let request_id = alice.context.request_id().clone();
        assert_eq!(
            audited,
            Some((Some(request_id), Some("renewal"))),
            "case {number}"
        );
        // The scope has the end that it had.
        assert_eq!(alice.last().await, None, "case {number}");
        setup.clock.advance(MINUTE);
        assert!(alice.last().await.is_some(), "case {number}");
    }
}

#[tokio::test]
async fn b56_a_scope_that_has_ended_is_not_renewed() {
    let alice: Subject = Subject::new("alice".parse::<UserId>().expect("an id"));
    let ends: [fn(&Setup, Subject); 2] = [
        |setup, _| setup.clock.advance(MINUTE),
        |setup, alice| {
            // Fresh credentials of hers are good: they are known to be issued later.
            let old = Revocation::of_token("old");
            assert_eq!(setup.scopes.revoke(old).expect("room"), 1);
            assert_eq!(setup.scopes.count(&alice), 1);
        },
    ];
    for (end, reason) in ends.iter().zip([EndReason::Expired, EndReason::Revoked]) {
        let setup = Setup::new();
        let mut open = setup.open(ALICE).await;
        end(&setup, alice.clone());
        let refused = setup.renew(&open, FRESH).await.expect_err("it has ended");
        assert!(
            matches!(refused.kind(), RejectionKind::IdentityEnded(it) if *it == reason),
            "{refused}"
        );
        assert_eq!(refused.status(), 401);
        let event = format!("event: scope-ended\ndata: {reason}\n\n");
        assert_eq!(open.last().await, Some(event));
    }
}

#[tokio::test]
async fn a_renewed_scope_is_revoked_by_its_new_credential_and_not_by_the_old_one() {
    let setup = Setup::new();
    let mut alice = setup.open(ALICE).await;
    setup.renew(&alice, FRESH).await.expect("alice");
    let revoke = |id: &'static str| setup.scopes.revoke(Revocation::of_token(id)).expect("room");
    assert_eq!(revoke("old"), 0);
    assert_eq!(alice.last().await, None);
    assert_eq!(revoke("new"), 1);
    assert!(alice.last().await.is_some());
}

#[tokio::test]
async fn a_revoked_credential_renews_nothing() {
    let setup = Setup::new();
    let mut alice = setup.open(ALICE).await;
    let new = Revocation::of_token("new");
    assert_eq!(setup.scopes.revoke(new).expect("room"), 0);
    let refused = setup.renew(&alice, FRESH).await.expect_err("revoked");
    assert!(matches!(
        refused.kind(),
        RejectionKind::IdentityEnded(EndReason::Revoked)
    ));
    // Whoever presents it can't end the scope by it.
    assert_eq!(alice.last().await, None);
}

#[tokio::test]
async fn a_child_and_an_inner_layers_context_share_the_new_end() {
    let setup = Setup::new();
    let alice = setup.open(ALICE).await;
    let child = alice.context.child().expect("not deep");
    setup.renew(&alice, FRESH).await.expect("alice");
    setup.clock.advance(MINUTE);
    assert!(child.ended().now_or_never().is_none());
    setup.clock.advance(2 * MINUTE);
    assert_eq!(child.ended().now_or_never(), Some(EndReason::Expired));
}
