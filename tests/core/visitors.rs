//! B52: two requests of nobody in particular are two subjects, unless something ties them
//! together.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, Identity, Principal, Scoped, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    context::{PortableContext, Subject, TenantId, VisitorId},
    from_fn,
    scope::{InstrumentScope, IsolationError},
    strategy::{BoxStrategy, Strategy},
    testing::AsUser,
};

fn nobody() -> Identity {
    Identity::asserted(Principal::Anonymous)
}

fn visitor(id: &str) -> Identity {
    Identity::proved(VisitorId::try_from(id).expect("a valid visitor id"))
}

fn tenant(id: &str) -> TenantId {
    TenantId::try_from(id).expect("a valid tenant id")
}

/// Finds this identity in every request, always the same value.
fn finds(identity: Identity) -> BoxStrategy {
    from_fn(CredentialSource::predicate(|_| true), move |_| {
        identity.clone().into()
    })
    .boxed()
}

struct Cart;

/// Sends one request, and returns the handle that its handler found.
async fn resolve(strategies: Vec<BoxStrategy>, request: Request<()>) -> Scoped<Cart> {
    let layer = UserScopeLayer::builder()
        .strategies(strategies)
        .fallback(Fallback::anonymous())
        .unanimous()
        .factory(|_| Cart)
        .build()
        .expect("a valid configuration");
    let found = Arc::new(Mutex::new(None));
    let finds = Arc::clone(&found);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let cart = request.scoped::<Cart>().expect("inside the layer").clone();
        *finds.lock().expect("no panic in here") = Some(cart);
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    let response = service.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    let cart = found.lock().expect("no panic in here").take();
    cart.expect("the handler ran")
}

async fn context(strategies: Vec<BoxStrategy>) -> UserContext {
    let cart = resolve(strategies, Request::new(())).await;
    Scoped::context(&cart).clone()
}

#[tokio::test]
async fn b52_two_visitors_are_two_subjects_whatever_found_them() {
    let built = || UserContext::builder(nobody()).build();
    for (what, one, other) in [
        ("a fallback", context(vec![]).await, context(vec![]).await),
        (
            "a strategy that keeps its identity",
            context(vec![finds(nobody())]).await,
            context(vec![finds(nobody())]).await,
        ),
        ("by hand", built(), built()),
        ("by hand and a fallback", built(), context(vec![]).await),
    ] {
        assert_ne!(one.subject(), other.subject(), "{what}");
        assert_ne!(one.scoped_key("cart"), other.scoped_key("cart"), "{what}");
        assert_ne!(one, other, "{what}");
        assert!(one.subject().is_of_one_request(), "{what}");
        assert_ne!(one.subject(), &Subject::new(Principal::Anonymous), "{what}");
        assert_eq!(one.subject(), &one.subject().clone(), "{what}");
    }
    let kept = finds(nobody().with_tenant_id(tenant("acme")));
    let layer = UserScopeLayer::builder()
        .strategy(kept)
        .context_only()
        .build()
        .expect("a valid configuration");
    let (head, ()) = Request::new(()).into_parts();
    let subjects = [layer.explain(&head).await, layer.explain(&head).await].map(|explained| {
        let context = explained.answer().expect("somebody was found");
        context.subject().clone()
    });
    assert_ne!(subjects[0], subjects[1], "of one layer and one identity");
    assert_eq!(subjects[0].tenant_id(), Some(&tenant("acme")));
}

#[tokio::test]
async fn b52_one_visitors_work_is_one_subject() {
    let visit = context(vec![]).await;
    let request = || Request::new(()).with_context(visit.clone());
    let portable = serde_json::to_string(&PortableContext::from(&visit)).expect("serialises");
    let arrived: PortableContext = serde_json::from_str(&portable).expect("deserialises");
    let asserted = UserContext::builder(nobody()).build();
    let inner = |strategies| resolve(strategies, request());
    for (what, continued) in [
        ("a child", visit.child().expect("not that deep")),
        ("a job", arrived.vouched_for("queue").expect("no end")),
        ("its identity", {
            UserContext::builder(visit.identity().clone()).build()
        }),
        ("an inner layer", {
            Scoped::context(&inner(vec![ExistingContext::new().boxed()]).await).clone()
        }),
    ] {
        assert_eq!(continued.subject(), visit.subject(), "{what}");
        assert_eq!(
            continued.scoped_key("cart"),
            visit.scoped_key("cart"),
            "{what}"
        );
    }
    let proved = Identity::proved(Principal::Anonymous);
    let both = vec![ExistingContext::new().boxed(), finds(proved)];
    let request = Request::new(()).with_context(asserted.clone());
    let agreed = resolve(both, request).await;
    let agreed = Scoped::context(&agreed);
    assert!(agreed.evidence().is_proved(), "the better evidence");
    assert_eq!(agreed.subject(), asserted.subject(), "of the one visitor");
}

#[tokio::test]
async fn b52_an_id_of_the_applications_ties_a_visitors_requests_together() {
    let one = context(vec![finds(visitor("v-1"))]).await;
    let again = context(vec![finds(visitor("v-1"))]).await;
    assert_eq!(one.subject(), again.subject());
    assert_eq!(one.scoped_key("cart"), "cart:visitor::v-1");
    assert!(!one.subject().is_of_one_request());
    assert_eq!(one.user_id(), None, "a visitor is not a user");
    let wanted = one.require_user().expect_err("not a user");
    assert!(wanted.is_anonymous(), "credentials would help");
    let portable = PortableContext::from(&one);
    let there = portable.vouched_for("queue").expect("no end");
    assert_eq!(there.subject(), one.subject(), "on another service too");

    let user = Identity::asserted(UserId::try_from("v-1").expect("an id"));
    for (what, other) in [
        ("another visitor", visitor("v-2")),
        (
            "one of a tenant",
            visitor("v-1").with_tenant_id(tenant("a")),
        ),
        ("a user of that id", user),
        ("nobody in particular", nobody()),
    ] {
        let other = UserContext::builder(other).build();
        assert_ne!(other.subject(), one.subject(), "{what}");
        assert_ne!(other.scoped_key("cart"), one.scoped_key("cart"), "{what}");
    }
}

#[tokio::test]
async fn b52_one_visitors_factory_is_refused_in_the_scope_of_another() {
    let cart = resolve(vec![], Request::new(())).await;
    let known = resolve(vec![finds(visitor("v-1"))], Request::new(())).await;
    let own = Scoped::context(&cart).clone();
    let cases = [
        ("its own", &cart, own.clone(), true),
        ("its child's", &cart, own.child().expect("a child"), true),
        ("another's", &cart, context(vec![]).await, false),
        (
            "a known one's",
            &cart,
            context(vec![finds(visitor("v-1"))]).await,
            false,
        ),
        (
            "the same known one's",
            &known,
            context(vec![finds(visitor("v-1"))]).await,
            true,
        ),
        (
            "another known one's",
            &known,
            context(vec![finds(visitor("v-2"))]).await,
            false,
        ),
        ("nobody's", &known, own, false),
    ];
    for (what, cart, scope, allowed) in cases {
        let used = async { Scoped::try_get(cart).map(drop) }
            .in_scope(scope)
            .await;
        if allowed {
            assert_eq!(used, Ok(()), "{what}");
        } else {
            assert!(
                matches!(used, Err(IsolationError::OtherUser { .. })),
                "{what}: {used:?}"
            );
        }
    }
}

#[test]
fn b06_a_visit_that_is_malformed_is_refused_on_arrival() {
    let document = |visit: &str| {
        serde_json::json!({
            "principal": "anonymous", "visit": visit, "request_id": "q", "thread_id": "t",
            "run_id": "r", "connection_id": "c",
        })
    };
    let whole = "0123456789abcdef0123456789abcdef";
    for (visit, accepted) in [
        (whole, true),
        ("", false),
        (&whole[1..], false),
        (&format!("0{whole}"), false),
        (&whole.to_uppercase(), false),
        (&format!("+{}", &whole[1..]), false),
    ] {
        let arrived = serde_json::from_value::<PortableContext>(document(visit));
        assert_eq!(arrived.is_ok(), accepted, "{visit}: {arrived:?}");
    }
}
