//! B22: under the unanimous rule every strategy is called, and two that find different
//! principals are a conflict that is refused and audited.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Outcome, Rejection, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    context::{ServiceName, TenantId},
    from_async_fn,
    rejection::RejectionKind,
    strategy::{BoxStrategy, Strategy},
    testing::{AsUser, Scripted},
};

/// The principal that a strategy finds. The first letter stands for the evidence.
#[derive(Clone, Copy, Debug)]
enum Finds {
    Nobody,
    Asserted(&'static str),
    Proved(&'static str),
    Member(&'static str, &'static str),
    Service(&'static str),
}

impl Finds {
    fn outcome(self) -> Outcome {
        let user = |id| UserId::try_from(id).expect("a valid user id");
        match self {
            Self::Nobody => Outcome::Absent,
            Self::Asserted(id) => Identity::asserted(user(id)).into(),
            Self::Proved(id) => Identity::proved(user(id)).into(),
            Self::Member(tenant, id) => {
                let tenant = TenantId::try_from(tenant).expect("a valid tenant id");
                Identity::proved(user(id)).with_tenant_id(tenant).into()
            }
            Self::Service(name) => {
                let name = ServiceName::try_from(name).expect("a valid name");
                Identity::proved(name).into()
            }
        }
    }

    /// Every second strategy waits, so that both forms are combined.
    fn strategy(self, place: usize) -> BoxStrategy {
        if place % 2 == 0 {
            return Scripted::new(move |_| self.outcome()).boxed();
        }
        from_async_fn(CredentialSource::predicate(|_| true), move |_| async move {
            tokio::task::yield_now().await;
            self.outcome()
        })
        .boxed()
    }
}

async fn send(strategies: Vec<BoxStrategy>) -> (Result<UserContext, Rejection>, Vec<String>) {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = events.clone();
    let observe = move |event: &AuditEvent<'_>| {
        let line = match event {
            AuditEvent::Consulted { .. } => "asked".to_owned(),
            AuditEvent::Conflict { first, second, .. } => format!("conflict {first} {second}"),
            AuditEvent::Refused { .. } => "refused".to_owned(),
            _ => return,
        };
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    };
    let layer = UserScopeLayer::builder()
        .strategies(strategies)
        .unanimous()
        .observer(observe)
        .context_only()
        .build()
        .expect("a valid configuration");
    let inner = service_fn(async |request: Request<()>| {
        let mut response = Response::new(());
        let context = request.user_context().expect("inside the layer").clone();
        response.extensions_mut().insert(context);
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    let mut response = response.expect("infallible");
    let extensions = response.extensions_mut();
    let answered = extensions
        .remove::<UserContext>()
        .ok_or_else(|| extensions.remove().expect("a context or a reason"));
    let events = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
    (answered, events)
}

#[tokio::test]
async fn principals_that_agree_are_accepted_and_principals_that_differ_are_refused() {
    use Finds::{Asserted, Member, Nobody, Proved, Service};

    for (finds, agreed) in [
        (&[Proved("alice")][..], true),
        (&[Nobody, Proved("alice"), Nobody], true),
        (&[Asserted("alice"), Proved("alice")], true),
        (&[Proved("alice"), Proved("alice"), Asserted("alice")], true),
        (&[Member("acme", "alice"), Member("acme", "alice")], true),
        (&[Proved("alice"), Proved("bob")], false),
        (&[Asserted("alice"), Nobody, Proved("bob")], false),
        (&[Proved("alice"), Proved("alice"), Proved("bob")], false),
        // B08: the same name in two tenants, or in a tenant and in none, is two users.
        (
            &[Member("acme", "alice"), Member("umbrella", "alice")],
            false,
        ),
        (&[Proved("alice"), Member("acme", "alice")], false),
        (&[Proved("backup"), Service("backup")], false),
    ] {
        let strategies = finds.iter().enumerate();
        let strategies = strategies
            .map(|(place, finds)| finds.strategy(place))
            .collect();
        let (answered, events) = send(strategies).await;
        assert_eq!(answered.is_ok(), agreed, "{finds:?}: {answered:?}");
        let asked = events.iter().filter(|line| *line == "asked").count();
        assert_eq!(asked, finds.len(), "{finds:?}: everybody is asked");
        if let Err(refused) = answered {
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{finds:?}");
            assert!(
                matches!(refused.kind(), RejectionKind::Conflict { .. }),
                "{refused:?}"
            );
            let last: Vec<_> = events.iter().rev().take(2).map(String::as_str).collect();
            assert!(
                last[0] == "refused" && last[1].starts_with("conflict "),
                "{finds:?}: audited as what it is: {events:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_proved_identity_comes_before_an_asserted_one_of_the_same_user() {
    let strategies = vec![
        Finds::Asserted("alice").strategy(0).named_as("header"),
        Finds::Proved("alice").strategy(1).named_as("token"),
        Finds::Asserted("alice").strategy(2).named_as("extension"),
    ];
    let (answered, _) = send(strategies).await;
    let context = answered.expect("all agree");
    assert_eq!(
        context.strategy(),
        "token",
        "what proved it is what is told"
    );
    assert!(context.require_proved().is_ok(), "and it is a proof");
}

/// A user that is found twice has the first identity, or the first proved one, until the earlier of
/// the two ends.
#[tokio::test]
async fn of_two_identities_of_one_user_the_better_one_counts_until_the_earlier_end() {
    const CASES: [([&str; 2], &str); 4] = [
        (["proved", "asserted"], "first"),
        (["asserted", "proved"], "second"),
        (["proved"; 2], "first"),
        (["asserted"; 2], "first"),
    ];
    let [soon, later] = [60, 3_600].map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
    for (first, second, expected) in [
        (None, None, None),
        (Some(soon), None, Some(soon)),
        (None, Some(soon), Some(soon)),
        (Some(soon), Some(later), Some(soon)),
        (Some(later), Some(soon), Some(soon)),
    ] {
        for (kinds, by) in CASES {
            let both = [("first", kinds[0], first), ("second", kinds[1], second)];
            let strategies = both.map(|(name, kind, end)| {
                let alice = UserId::try_from("alice").expect("a valid user id");
                let identity = match kind {
                    "proved" => Identity::proved(alice),
                    _ => Identity::asserted(alice),
                };
                let identity = match end {
                    Some(end) => identity.with_expires_at(end),
                    None => identity,
                };
                Scripted::new(move |_| identity.clone().into())
                    .named(name)
                    .boxed()
            });
            let (answered, _) = send(strategies.into()).await;
            let context = answered.expect("both agree");
            let end = context.identity().expires_at();
            assert_eq!(end, expected, "{kinds:?}: {first:?}, {second:?}");
            assert_eq!(context.strategy(), by, "{kinds:?}");
        }
    }
}

trait NamedAs {
    fn named_as(self, name: &'static str) -> BoxStrategy;
}

impl NamedAs for BoxStrategy {
    fn named_as(self, name: &'static str) -> BoxStrategy {
        self.named(name).boxed()
    }
}

#[tokio::test]
async fn an_existing_context_keeps_its_ids_where_a_proof_of_the_same_user_follows() {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .strategy(Scripted::new(|_| Finds::Proved("alice").outcome()))
        .unanimous()
        .context_only()
        .build()
        .expect("a valid configuration");
    let inner = service_fn(async |request: Request<()>| {
        let mut response = Response::new(());
        let context = request.user_context().expect("inside the layer").clone();
        response.extensions_mut().insert(context);
        Ok::<_, Infallible>(response)
    });
    let asserted = Identity::asserted(UserId::try_from("alice").expect("a valid user id"));
    let outer = UserContext::builder(asserted)
        .request_id("outer-1".parse().expect("a valid request id"))
        .build();
    let request = Request::new(()).with_context(outer);
    let response = layer
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible");
    let context = response
        .extensions()
        .get::<UserContext>()
        .expect("accepted");
    assert_eq!(
        context.request_id(),
        &"outer-1",
        "it is still the same request"
    );
    assert!(context.require_proved().is_ok(), "now with a proof");
}
