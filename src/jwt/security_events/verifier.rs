//! What both kinds of tokens have in common: keys, issuer, audience, type, times, and a single use.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::super::{
    HasAudience, HasIssuer, Jwt, KeySet, TokenConfigError, TokenError, TokenErrorKind,
    VerifiedToken,
    claims::Claims,
    error::utc,
    fetched::{NotVerified, with_fetched_keys, with_loaded_keys},
    issuer::IssuerRules,
    json::Object,
    settings::Settings,
    verify::{Refused, Unverified, check_names, unix_seconds},
};
use super::{EndedSessions, EventTokenError, ended::Whom, seen::Seen};
use crate::{clock::Clock, context::Subject, outcome::InvalidError};

/// How many ids of tokens are remembered.
pub(super) const MAX_SEEN: usize = 16_384;

pub(super) struct Verifier {
    jwt: Jwt<HasIssuer, HasAudience>,
    /// The `typ` that tokens have, unless the [`Jwt`] asks for another.
    token_type: &'static str,
    seen: Seen,
}

/// A token whose signature, type, issuer, audience and times are good.
pub(super) struct Event<'t> {
    pub(super) claims: Claims<'t>,
    pub(super) issuer: Box<str>,
    pub(super) issued_at: u64,
    pub(super) now: u64,
    pub(super) leeway: u64,
    settings: &'t Settings,
}

/// Whom a token names, and when.
pub(super) struct Named {
    pub(super) subject: Option<Box<str>>,
    pub(super) session_id: Option<Box<str>>,
    pub(super) at: u64,
    pub(super) is_log_out: bool,
}

impl Verifier {
    pub(super) fn new(
        jwt: Jwt<HasIssuer, HasAudience>,
        token_type: &'static str,
    ) -> Result<Self, TokenConfigError> {
        jwt.settings.validate()?;
        Ok(Self {
            jwt,
            token_type,
            seen: Seen::default(),
        })
    }

    pub(super) fn use_clock(&mut self, clock: impl Clock + 'static) {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        self.jwt.settings_mut().use_clock(&clock);
    }

    /// Verifies a token, and reads whom it names.
    pub(super) async fn verify(
        &self,
        token: &str,
        read: impl Fn(&Event<'_>) -> Result<Named, InvalidError>,
    ) -> Result<EndedSessions, EventTokenError> {
        let settings = &*self.jwt.settings;
        let invalid = |kind: TokenErrorKind| EventTokenError::Invalid(kind.into());
        let limit = settings.max_len;
        if token.len() > limit {
            return Err(invalid(TokenErrorKind::TooLong { limit }));
        }
        let unverified = Unverified::split(token).map_err(invalid)?;
        let rules = settings.issuers.claimed_by(&unverified);
        let rules = rules.map_err(|error| EventTokenError::Invalid(error.into()))?;
        let by = |keys: &KeySet| self.verify_by(keys, &unverified, &rules, &read);
        let verified = match with_loaded_keys(&rules, settings.clock.now(), by) {
            Err(Refused::UnknownKey) if rules.keys.is_remote() => {
                with_fetched_keys(&rules, by).await
            }
            loaded => loaded.map_err(|refused| NotVerified::Invalid(refused.into())),
        };
        let (ended, token_id) = verified?;
        // The last step: a token that is refused for another reason may come again.
        if self.seen.is_first(ended.issuer(), &token_id, MAX_SEEN) {
            Ok(ended)
        } else {
            Err(invalid(TokenErrorKind::Replayed))
        }
    }

    fn verify_by(
        &self,
        keys: &KeySet,
        unverified: &Unverified<'_>,
        rules: &IssuerRules,
        read: impl Fn(&Event<'_>) -> Result<Named, InvalidError>,
    ) -> Result<(EndedSessions, Box<str>), Refused> {
        let settings = &*self.jwt.settings;
        // `new` fails without a provider.
        let provider = settings
            .provider()
            .map_err(|_| TokenErrorKind::UnknownKey)?;
        let signed = unverified.signed_by(keys, provider)?;
        let wanted = settings.token_type.as_deref().unwrap_or(self.token_type);
        signed.check_type(wanted).map_err(InvalidError::from)?;
        let claims = signed.claims()?;
        check_names(&claims, rules, &settings.required).map_err(InvalidError::from)?;
        let now = unix_seconds(settings.clock.now());
        let leeway = settings.leeway.as_secs();
        let invalid = |error: TokenError| Refused::from(InvalidError::from(error));
        claims.check_end(now, leeway).map_err(invalid)?;
        claims.check_start(now, leeway).map_err(invalid)?;
        let issued_at = claims.required_time("iat")?;
        check_not_later("iat", issued_at, now, leeway).map_err(invalid)?;
        let token_id = claims.required_text("jti")?.into();
        let event = Event {
            issuer: claims.issuer()?.into(),
            claims,
            issued_at,
            now,
            leeway,
            settings,
        };
        let named = read(&event)?;
        Ok((event.ended(named)?, token_id))
    }
}

/// Refuses a time that is later than now.
fn check_not_later(name: &'static str, time: u64, now: u64, leeway: u64) -> Result<(), TokenError> {
    if time <= now.saturating_add(leeway) {
        return Ok(());
    }
    let kind = match name {
        "iat" => TokenErrorKind::NotYetValid,
        name => TokenErrorKind::NumericDate(name),
    };
    Err(TokenError::from(kind).comparing([&*utc(now)], [&*utc(time)]))
}

impl<'t> Event<'t> {
    /// Returns the payload of the event of this type, which is an object.
    pub(super) fn payload(&self, event_type: &str) -> Result<Object<'t>, TokenErrorKind> {
        const NAME: &str = "events";
        let Some(events) = self.claims.object(NAME)? else {
            return Err(TokenErrorKind::MissingClaim(NAME.into()));
        };
        match events.get(event_type) {
            Some(payload) => {
                Object::read(payload.as_bytes()).map_err(|_| TokenErrorKind::ClaimType(NAME.into()))
            }
            // `null` is not an object.
            None if events.has(event_type) => Err(TokenErrorKind::ClaimType(NAME.into())),
            None => Err(TokenErrorKind::OtherEvent),
        }
    }

    /// Refuses a time of the event that is later than now.
    pub(super) fn check_happened(&self, name: &'static str, at: u64) -> Result<(), TokenError> {
        check_not_later(name, at, self.now, self.leeway)
    }

    fn ended(&self, named: Named) -> Result<EndedSessions, InvalidError> {
        let Named {
            subject,
            session_id,
            at,
            is_log_out,
        } = named;
        let settings = self.settings;
        if session_id.as_deref() == Some("") {
            return Err(TokenErrorKind::ClaimType("sid".into()).into());
        }
        // One session id of two issuers may be two sessions.
        let needs_both = settings.issuers.are_several() && !settings.issuers_share_users;
        let whom = match (&subject, &session_id) {
            (_, Some(_)) if !needs_both => Whom::Session,
            (Some(subject), Some(_)) => Whom::SessionOf(self.subject(subject)?),
            (Some(subject), None) => Whom::AllOf(self.subject(subject)?),
            (None, _) => return Err(TokenErrorKind::MissingClaim("sub".into()).into()),
        };
        Ok(EndedSessions {
            issuer: self.issuer.clone(),
            subject,
            session_id,
            ended_at: at_seconds(at),
            whom,
            is_log_out,
        })
    }

    /// Makes the subject that a token of this user's has here.
    fn subject(&self, subject: &str) -> Result<Subject, InvalidError> {
        let json = serde_json::json!({"iss": self.issuer, "sub": subject}).to_string();
        let claims = Claims::read(json.as_bytes())?;
        let token = VerifiedToken::new(&claims, None, None, None);
        let identity = (self.settings.identify).identity(&claims, &token, json.as_bytes())?;
        Ok(identity.subject().clone())
    }
}

fn at_seconds(seconds: u64) -> SystemTime {
    // At most in the year 9999, which `SystemTime` can represent.
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuers", &self.jwt.settings.issuers)
            .field("token_type", &self.token_type)
            .finish_non_exhaustive()
    }
}
