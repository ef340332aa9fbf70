//! Log-out tokens of OpenID Connect Back-Channel Logout 1.0.

use super::super::{HasAudience, HasIssuer, Jwt, TokenConfigError, TokenErrorKind};
use super::{
    EndedSessions, EventTokenError,
    verifier::{Event, MAX_SEEN, Named, Verifier},
};
use crate::{clock::Clock, outcome::InvalidError};

/// The member of `events` (section 2.4). It begins with `http`, not with `https`.
const LOG_OUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Verifies log-out tokens of OpenID providers (OpenID Connect Back-Channel Logout 1.0), which say that
/// a user has logged out there.
///
/// A token is verified as by a [`Jwt`], with its keys, issuers, audience and leeway. The audience is
/// the client id of the application at the provider. Beyond that (sections 2.4 and 2.6):
///
/// - `typ` is `logout+jwt`. For a provider with another one, set
///   [`token_type`](Jwt::token_type).
/// - `iat`, `exp` and `jti` are there, `iat` is not in the future, and `nonce` is not there.
/// - `events` has the log-out event.
/// - `sub` or `sid` is there.
/// - Its `jti` is new. The newest [`MAX_REMEMBERED`](Self::MAX_REMEMBERED) ids are remembered.
///
/// It revokes nothing itself: [`EndedSessions`] says who and when. The guide has
/// [the endpoint](crate::guide::ending_scopes#log-out-at-the-identity-provider).
///
/// ```
/// use tower_user_scope::jwt::{Jwt, LogoutTokens, RemoteKeys};
///
/// let issuer = "https://id.example";
/// let jwt = Jwt::new(RemoteKeys::discover(issuer)).issuer(issuer).audience("the client's id");
/// # let jwt = jwt.crypto_provider(tower_user_scope::jwt::CryptoProvider::aws_lc_rs());
/// let tokens = LogoutTokens::new(jwt)?;
/// # let _ = tokens;
/// # Ok::<(), tower_user_scope::jwt::TokenConfigError>(())
/// ```
#[derive(Debug)]
pub struct LogoutTokens {
    verifier: Verifier,
}

impl LogoutTokens {
    /// How many ids of tokens are remembered, each in about 100 bytes.
    pub const MAX_REMEMBERED: usize = MAX_SEEN;

    /// Creates a verifier with the keys, issuers, audience, user id and tenant of a [`Jwt`]. Its other
    /// settings are for requests and don't count.
    ///
    /// # Errors
    /// [`TokenConfigError`] as `build()` of a layer with this [`Jwt`] returns it.
    pub fn new(jwt: Jwt<HasIssuer, HasAudience>) -> Result<Self, TokenConfigError> {
        let verifier = Verifier::new(jwt, "logout+jwt")?;
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
    claims.required_time("exp")?;
    if claims.has("nonce") {
        return Err(TokenErrorKind::ForbiddenClaim("nonce").into());
    }
    event.payload(LOG_OUT)?;
    let text = |name: &'static str| -> Result<Option<Box<str>>, TokenErrorKind> {
        Ok(claims.text(name.into())?.map(Box::from))
    };
    Ok(Named {
        subject: text("sub")?,
        session_id: text("sid")?,
        at: event.issued_at,
        is_log_out: true,
    })
}
