//! B55: a token is revoked by its `jti`, by the `sid` of its session, or by when it was issued.

use std::{
    convert::Infallible,
    time::{Duration, UNIX_EPOCH},
};

use http::{Request, Response};
use serde_json::json;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    UserId, UserScopeLayer,
    context::Subject,
    open_scopes::{OpenScopes, Revocation},
};

use crate::tokens::{HS, bearer, claims_with, jwt, minted, now, verifying};

#[tokio::test]
async fn b55_a_token_is_revoked_by_what_its_claims_say() {
    let alice = || Subject::new("alice".parse::<UserId>().expect("an id"));
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let issued = now() - 60;
    let cases = [
        (Revocation::of_session("session-1"), true),
        (Revocation::of_session("session-2"), false),
        (Revocation::of_token("token-1"), true),
        (Revocation::of_token("session-1"), false),
        (Revocation::of_subject(alice()), true),
        (
            Revocation::of_subject(alice()).except_session("session-1"),
            false,
        ),
        (
            Revocation::of_subject(alice()).issued_before(at(issued)),
            false,
        ),
        (
            Revocation::of_subject(alice()).issued_before(at(issued + 1)),
            true,
        ),
    ];
    let token = minted(
        HS,
        None,
        &claims_with(json!({"sid": "session-1", "jti": "token-1", "iat": issued})),
    );
    for (revocation, is_revoked) in cases {
        let open = OpenScopes::new(Duration::from_secs(3_600));
        let layer = UserScopeLayer::builder()
            .strategy(jwt(verifying(HS)))
            .open_scopes(&open)
            .context_only()
            .build()
            .expect("a valid configuration");
        let service = layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(()))
        }));
        // The second time, the verified token is remembered.
        for _ in 0..2 {
            let Ok(response) = service.clone().oneshot(bearer(&token)).await;
            assert_eq!(response.status(), 200, "{revocation:?}");
        }
        open.revoke(revocation.clone()).expect("room");
        let Ok(response) = service.oneshot(bearer(&token)).await;
        assert_eq!(response.status() == 401, is_revoked, "{revocation:?}");
    }
}
