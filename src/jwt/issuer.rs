//! An accepted issuer: its name, its audiences and its keys.

use std::{borrow::Cow, marker::PhantomData};

use super::{
    CryptoProvider, HasAudience, KeyError, KeySet, TokenConfigError, WantsAudience,
    claims::check_name, keys::Keys, requirement::Requirement,
};

/// One of several issuers of a [`Jwt`](super::Jwt), with its own keys and audiences.
///
/// ```
/// use tower_user_scope::jwt::{Algorithm, Issuer, Key};
///
/// # let ours = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
/// # let theirs = b"qK7Nhh6Kc4x1ZuUJoYmwTQs0bRf3gVdE";
/// let issuers = [
///     Issuer::new("https://id.example", Key::hmac(Algorithm::HS256, ours)?).audience("api"),
///     Issuer::new("https://partner.example", Key::hmac(Algorithm::HS256, theirs)?)
///         .audience("https://api.example"),
/// ];
/// # let _ = issuers;
/// # Ok::<(), tower_user_scope::jwt::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Issuer<A = WantsAudience> {
    pub(super) rules: IssuerRules,
    _audience: PhantomData<A>,
}

/// What a token of one issuer is checked against.
#[derive(Clone, Debug)]
pub(super) struct IssuerRules {
    /// `None` accepts any issuer.
    pub(super) name: Option<Box<str>>,
    /// Empty accepts any audience.
    pub(super) audiences: Vec<Box<str>>,
    /// The claim that has the audience.
    pub(super) audience_claim: Cow<'static, str>,
    pub(super) required: Vec<Requirement>,
    pub(super) keys: Keys,
}

impl Issuer {
    /// Creates an issuer whose tokens have exactly this `iss` and are verified with these keys.
    #[must_use]
    pub fn new(name: impl Into<String>, keys: impl Into<Keys>) -> Self {
        Self {
            rules: IssuerRules::new(Some(name.into().into_boxed_str()), keys.into()),
            _audience: PhantomData,
        }
    }
}

impl<A> Issuer<A> {
    /// Accepts tokens for this audience. Call it again to accept another.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Issuer<HasAudience> {
        self.rules.audiences.push(audience.into().into_boxed_str());
        Issuer {
            rules: self.rules,
            _audience: PhantomData,
        }
    }

    /// Looks for the audience in this claim instead of `aud`; see
    /// [`Jwt::audience_claim`](super::Jwt::audience_claim).
    #[must_use]
    pub fn audience_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.audience_claim = name.into();
        self
    }

    /// Accepts only tokens of this issuer whose claim has one of these values; see
    /// [`Jwt::require_claim`](super::Jwt::require_claim).
    #[must_use]
    pub fn require_claim<V>(mut self, name: impl Into<Cow<'static, str>>, values: V) -> Self
    where
        V: IntoIterator<Item: Into<String>>,
    {
        self.rules.required.push(Requirement::new(name, values));
        self
    }
}

impl IssuerRules {
    pub(super) fn new(name: Option<Box<str>>, keys: Keys) -> Self {
        Self {
            name,
            audiences: Vec::new(),
            audience_claim: Cow::Borrowed("aud"),
            required: Vec::new(),
            keys,
        }
    }

    pub(super) fn validate(&self, provider: CryptoProvider) -> Result<(), TokenConfigError> {
        let mut names = self.name.iter().chain(&self.audiences);
        if names.any(|name| name.is_empty()) {
            return Err(TokenConfigError::EmptyName);
        }
        check_name(&self.audience_claim)?;
        self.required.iter().try_for_each(Requirement::validate)?;
        self.keys.validate(provider)?;
        self.validate_discovery()
    }

    /// Checks that the keys are discovered from the issuer whose tokens are accepted. Call it after
    /// the URL was validated: the error shows it.
    fn validate_discovery(&self) -> Result<(), TokenConfigError> {
        match (&self.name, self.keys.discovered_from()) {
            (Some(name), Some(discovered)) if **name != *discovered => {
                Err(TokenConfigError::OtherIssuer {
                    issuer: name.to_string(),
                    discovered: discovered.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl From<KeySet> for Keys {
    fn from(set: KeySet) -> Self {
        Self::fixed(Ok(set))
    }
}

impl From<super::Key> for Keys {
    fn from(key: super::Key) -> Self {
        Self::fixed(KeySet::new([key]))
    }
}

impl<const N: usize> From<[super::Key; N]> for Keys {
    fn from(keys: [super::Key; N]) -> Self {
        Self::fixed(KeySet::new(keys))
    }
}

impl From<Vec<super::Key>> for Keys {
    fn from(keys: Vec<super::Key>) -> Self {
        Self::fixed(KeySet::new(keys))
    }
}

impl From<Result<KeySet, KeyError>> for Keys {
    /// An error is returned by `build()`.
    fn from(set: Result<KeySet, KeyError>) -> Self {
        Self::fixed(set)
    }
}
