//! The event `session-revoked` of CAEP 1.0, in a security event token.

use super::super::{
    HasAudience, HasIssuer, Jwt, TokenConfigError, TokenErrorKind,
    json::{self, Object},
    numeric_date::{Round, seconds},
};
use super::{
    EndedSessions, EventTokenError,
    verifier::{Event, MAX_SEEN, Named, Verifier},
};
use crate::{clock::Clock, outcome::InvalidError};

const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// Verifies security event tokens (RFC 8417) with the event `session-revoked` of OpenID CAEP 1.0, by
/// which an issuer says that sessions were revoked.
///
/// A token is verified as by a [`Jwt`], with its keys, issuers, audience and leeway. Beyond that:
///
/// - `typ` is `secevent+jwt`.
/// - `iat` and `jti` are there, and `iat` is not in the future. There is no `sub` and, as a rule, no
///   `exp`.
/// - `events` has one event, which is `session-revoked`. Its `event_timestamp` says when, or else `iat`.
/// - `sub_id` (RFC 9493) names whom: a user (`iss_sub`, of the token's own issuer), a session
///   (`opaque`), or a `complex` subject of a `user` and a `session`, or of one of them. Other formats
///   and other parts, such as a `device`, are refused, because a session that is not the one meant would
///   end.
/// - Its `jti` is new. The newest [`MAX_REMEMBERED`](Self::MAX_REMEMBERED) ids are remembered.
///
/// It revokes nothing itself: [`EndedSessions`] says who and when. Another event of the same stream is
/// [`TokenErrorKind::OtherEvent`].
///
/// ```
/// use tower_user_scope::jwt::{Jwt, RemoteKeys, SessionRevokedEvents};
///
/// let keys = RemoteKeys::from_url("https://id.example/ssf/jwks.json");
/// let jwt = Jwt::new(keys).issuer("https://id.example").audience("https://api.example");
/// # let jwt = jwt.crypto_provider(tower_user_scope::jwt::CryptoProvider::aws_lc_rs());
/// let events = SessionRevokedEvents::new(jwt)?;
/// # let _ = events;
/// # Ok::<(), tower_user_scope::jwt::TokenConfigError>(())
/// ```
#[derive(Debug)]
pub struct SessionRevokedEvents {
    verifier: Verifier,
}

impl SessionRevokedEvents {
    /// How many ids of tokens are remembered, each in about 100 bytes.
    pub const MAX_REMEMBERED: usize = MAX_SEEN;

    /// Creates a verifier with the keys, issuers, audience, user id and tenant of a [`Jwt`]. Its other
    /// settings are for requests and don't count.
    ///
    /// # Errors
    /// [`TokenConfigError`] as `build()` of a layer with this [`Jwt`] returns it.
    pub fn new(jwt: Jwt<HasIssuer, HasAudience>) -> Result<Self, TokenConfigError> {
        let verifier = Verifier::new(jwt, "secevent+jwt")?;
        Ok(Self { verifier })
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.verifier.use_clock(clock);
        self
    }

    /// Verifies a token, and returns which sessions have ended.
    ///
    /// # Errors
    /// [`EventTokenError`] if the token is not valid (400), or could not be checked (503).
    ///
    /// # Cancel safety
    /// Where the future is dropped, the token may be verified again.
    pub async fn verify(&self, token: &str) -> Result<EndedSessions, EventTokenError> {
        self.verifier.verify(token, read).await
    }
}

fn read(event: &Event<'_>) -> Result<Named, InvalidError> {
    let claims = &event.claims;
    // SSF 1.0: the subject is in `sub_id` only, and a token without `sub` is no ID token (RFC 8417
    // section 4.5).
    if claims.has("sub") {
        return Err(TokenErrorKind::ForbiddenClaim("sub").into());
    }
    let payload = event.payload(SESSION_REVOKED)?;
    if claims
        .object("events")?
        .is_some_and(|events| events.len() != 1)
    {
        return Err(TokenErrorKind::ClaimType("events".into()).into());
    }
    let at = match payload.get("event_timestamp") {
        None => event.issued_at,
        Some(json) => {
            seconds(json, Round::Down).ok_or(TokenErrorKind::NumericDate("event_timestamp"))?
        }
    };
    event.check_happened("event_timestamp", at)?;
    let Some(subject) = claims.object("sub_id")? else {
        return Err(TokenErrorKind::MissingClaim("sub_id".into()).into());
    };
    let (user, session) = named(&subject, &event.issuer).ok_or_else(unknown)?;
    Ok(Named {
        subject: user,
        session_id: session,
        at,
        is_log_out: false,
    })
}

fn unknown() -> TokenErrorKind {
    TokenErrorKind::ClaimType("sub_id".into())
}

type Id = Option<Box<str>>;

/// Returns the ids of the user and of the session that a subject identifier names; `None` if it names
/// something else.
fn named(subject: &Object<'_>, issuer: &str) -> Option<(Id, Id)> {
    match &*text(subject, "format")? {
        "iss_sub" => Some((Some(user(subject, issuer)?), None)),
        "opaque" => Some((None, Some(text(subject, "id")?))),
        "complex" => {
            let part = |name| match subject.get(name) {
                None => Some(None),
                Some(json) => Object::read(json.as_bytes()).ok().map(Some),
            };
            let (of_user, of_session) = (part("user")?, part("session")?);
            let parts = usize::from(of_user.is_some()) + usize::from(of_session.is_some());
            if parts == 0 || subject.len() != parts + 1 {
                return None;
            }
            let of_user = match of_user {
                Some(it) if &*text(&it, "format")? == "iss_sub" => Some(user(&it, issuer)?),
                Some(_) => return None,
                None => None,
            };
            let of_session = match of_session {
                Some(it) if &*text(&it, "format")? == "opaque" => Some(text(&it, "id")?),
                Some(_) => return None,
                None => None,
            };
            Some((of_user, of_session))
        }
        _ => None,
    }
}

fn user(subject: &Object<'_>, issuer: &str) -> Option<Box<str>> {
    let is_own = &*text(subject, "iss")? == issuer;
    text(subject, "sub").filter(|_| is_own)
}

fn text(object: &Object<'_>, name: &str) -> Option<Box<str>> {
    Some(json::string(object.get(name)?)?.into())
}
