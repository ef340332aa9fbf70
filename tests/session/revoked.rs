//! B55: a session is revoked by its id, also where its record is still in the store.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_sessions::{MemoryStore, SessionStore, session::Id};
use tower_user_scope::{
    UserScopeLayer,
    open_scopes::{OpenScopes, Revocation},
    session::SessionCookie,
};

use crate::support::{store::record, verdict::SID, with_cookies};

#[tokio::test]
async fn b55_a_session_is_revoked_by_its_id() {
    let store = MemoryStore::default();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut session = record(Id::default(), [("user_id", "alice".into())]);
        store.create(&mut session).await.expect("in memory");
        ids.push(session.id);
    }
    let open = OpenScopes::new(Duration::from_secs(3_600));
    let layer = UserScopeLayer::builder()
        .strategy(SessionCookie::new(SID, store).user_id_key("user_id"))
        .open_scopes(&open)
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(()))
    }));
    let ask = async |id: Id| {
        let request = with_cookies([format!("{SID}={id}")]);
        let Ok(response) = service.clone().oneshot(request).await;
        response.status().as_u16()
    };
    assert_eq!((ask(ids[0]).await, ask(ids[1]).await), (200, 200));
    open.revoke(Revocation::of_session(ids[0].to_string()))
        .expect("room");
    assert_eq!((ask(ids[0]).await, ask(ids[1]).await), (401, 200));
}
