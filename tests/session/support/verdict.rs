//! The result of a request as a value for tables, and the parts of cookies.

use std::{error::Error as StdError, sync::Arc};

use http::Request;
use tower_sessions::{
    cookie::{Cookie, CookieJar, Key},
    session::Id,
};
use tower_user_scope::{
    Principal, UserScopeLayer,
    rejection::RejectionKind,
    session::{CookieKey, SessionError},
    strategy::{InvalidErrorKind, Strategy},
};

use super::{Answered, send};
pub(crate) const SID: &str = "__Host-sid";

/// The result of a request as a value for tables.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    User(&'static str),
    Fallback,
    Nobody,
    NotAccepted,
    Repeated,
    Bad(SessionError),
    Unavailable,
}

pub(crate) fn came(answered: &Answered) -> Came {
    let rejection = match answered {
        Ok(context) => {
            return match context.principal() {
                Principal::User(id) => ["alice", "bob", "later"]
                    .into_iter()
                    .find(|known| id == known)
                    .map_or_else(|| panic!("a user out of nowhere: {id}"), Came::User),
                _ => Came::Fallback,
            };
        }
        Err(rejection) => rejection,
    };
    let (came, status) = match rejection.kind() {
        RejectionKind::NoCredential => (Came::Nobody, 401),
        RejectionKind::NotAccepted { .. } => (Came::NotAccepted, 401),
        RejectionKind::Unavailable { .. } => (Came::Unavailable, 503),
        RejectionKind::Invalid { invalid, .. } if invalid.kind() == InvalidErrorKind::Repeated => {
            (Came::Repeated, 400)
        }
        RejectionKind::Invalid { invalid, .. } => (Came::Bad(problem(invalid).clone()), 401),
        other => panic!("refused for another reason: {other}"),
    };
    assert_eq!(rejection.status().as_u16(), status, "{rejection}");
    came
}

pub(crate) fn problem(error: &dyn StdError) -> &SessionError {
    let source = error.source().expect("the source is kept");
    cause(source).expect("a session's problem")
}

/// Finds an error in the chain of sources, also one inside of an `Arc`.
pub(crate) fn cause<'a, E: StdError + 'static>(
    source: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    let shared = source.downcast_ref::<Arc<dyn StdError + Send + Sync>>();
    shared.map_or_else(|| source.downcast_ref(), |shared| shared.downcast_ref())
}

pub(crate) async fn ask(strategy: impl Strategy, request: Request<()>) -> Answered {
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .expect("valid");
    send(&layer, request).await
}

/// The key in this crate's type.
pub(crate) fn ours(key: &Key) -> CookieKey {
    CookieKey::from(key.master())
}

/// The value that tower-sessions writes for this id, percent-encoded as on the wire.
pub(crate) fn sealed(
    name: &str,
    id: Id,
    seal: impl FnOnce(&mut CookieJar, Cookie<'static>),
) -> String {
    let mut jar = CookieJar::new();
    seal(&mut jar, Cookie::new(name.to_owned(), id.to_string()));
    let cookie = jar.get(name).expect("just added");
    cookie.encoded().stripped().to_string()
}
