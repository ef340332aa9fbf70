//! The issuers whose tokens are accepted, which may change while the service runs.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    CryptoProvider, HasAudience, Issuer, TokenConfigError, TokenError, TokenErrorKind,
    issuer::IssuerRules, verify::Unverified,
};
use crate::clock::Clock;

type ByName = BTreeMap<Box<str>, Arc<IssuerRules>>;

/// A set of issuers that can be changed while the service runs: a tenant signs up and brings an
/// identity provider, or leaves.
///
/// Clones share the set. A change takes effect with the next request. Keys, and the verdicts that
/// were cached for the other issuers, stay; tokens of an issuer that was removed or replaced are
/// verified anew, or refused.
///
/// ```
/// use tower_user_scope::{
///     UserScopeLayer,
///     jwt::{Issuer, Issuers, Jwt, RemoteKeys},
/// };
///
/// # fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let issuers = Issuers::new();
/// let layer = UserScopeLayer::builder()
///     .strategy(Jwt::of_issuers(issuers.clone()).tenant_claim("iss"))
///     .context_only()
///     .build()?;
///
/// // Later, when a tenant signs up:
/// let keys = RemoteKeys::discover("https://tenant-a.example");
/// issuers.insert(Issuer::new("https://tenant-a.example", keys).audience("api"))?;
/// // And when the tenant leaves:
/// assert!(issuers.remove("https://tenant-a.example"));
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Issuers {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<ByName>,
    /// Held by those that change the set.
    writer: Mutex<()>,
    given: Given,
    /// Known once a layer was built.
    provider: OnceLock<CryptoProvider>,
    clock: OnceLock<Arc<dyn Clock>>,
}

/// How the set was created.
#[derive(Clone, Copy)]
enum Given {
    /// Empty: it is filled while the service runs.
    Nothing,
    /// From a list. Fewer names than issuers show that a name is there twice.
    List { issuers: usize, names: usize },
}

impl Issuers {
    /// Creates an empty set, for issuers that are added later.
    #[must_use]
    pub fn new() -> Self {
        Self::with(ByName::new(), Given::Nothing)
    }

    fn with(issuers: ByName, given: Given) -> Self {
        Self {
            shared: Arc::new(Shared {
                current: ArcSwap::from_pointee(issuers),
                writer: Mutex::new(()),
                given,
                provider: OnceLock::new(),
                clock: OnceLock::new(),
            }),
        }
    }

    /// Adds an issuer, or replaces the one of the same name.
    ///
    /// # Errors
    /// [`TokenConfigError`] if something is wrong with the issuer. Before a layer was built with this
    /// set, that is an error of `build()` instead.
    pub fn insert(&self, issuer: Issuer<HasAudience>) -> Result<(), TokenConfigError> {
        let rules = issuer.rules;
        if let Some(provider) = self.shared.provider.get() {
            rules.validate(*provider)?;
        }
        if let Some(clock) = self.shared.clock.get() {
            rules.keys.use_clock(clock);
        }
        let (name, rules) = named(rules);
        self.change(|issuers| issuers.insert(name, rules));
        Ok(())
    }

    /// Removes the issuer of this name, and returns whether there was one.
    ///
    /// Its tokens are refused from the next request on, cached ones too.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn remove(&self, name: &str) -> bool {
        self.change(|issuers| issuers.remove(name).is_some())
    }

    /// Returns whether tokens of this issuer are accepted.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.shared.current.load().contains_key(name)
    }

    fn change<R>(&self, change: impl FnOnce(&mut ByName) -> R) -> R {
        let shared = &self.shared;
        let _writing = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut issuers = ByName::clone(&shared.current.load());
        let result = change(&mut issuers);
        shared.current.store(Arc::new(issuers));
        result
    }
}

/// Returns rules with their name, which the rules of an [`Issuer`] always have.
fn named(rules: IssuerRules) -> (Box<str>, Arc<IssuerRules>) {
    (rules.name.clone().unwrap_or_default(), Arc::new(rules))
}

impl Default for Issuers {
    fn default() -> Self {
        Self::new()
    }
}

/// A list that is not empty and has no name twice; otherwise `build()` fails.
impl<I: IntoIterator<Item = Issuer<HasAudience>>> From<I> for Issuers {
    fn from(issuers: I) -> Self {
        let mut issuers_given = 0;
        let by_name = issuers.into_iter().map(|issuer| {
            issuers_given += 1;
            named(issuer.rules)
        });
        let by_name: ByName = by_name.collect();
        let given = Given::List {
            issuers: issuers_given,
            names: by_name.len(),
        };
        Self::with(by_name, given)
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.shared.current.load().keys())
            .finish()
    }
}

/// One issuer, or several of which a token names one.
#[derive(Clone, Debug)]
pub(super) enum AcceptedIssuers {
    /// No claim is read to select it.
    One(Arc<IssuerRules>),
    Several(Issuers),
}

impl AcceptedIssuers {
    /// Returns the rules for tokens of the issuer that this token claims.
    pub(super) fn claimed_by(
        &self,
        token: &Unverified<'_>,
    ) -> Result<Arc<IssuerRules>, TokenError> {
        let issuers = match self {
            Self::One(rules) => return Ok(Arc::clone(rules)),
            Self::Several(issuers) => issuers.shared.current.load(),
        };
        let sent = token.issuer()?;
        issuers.get(&*sent).cloned().ok_or_else(|| {
            TokenError::from(TokenErrorKind::WrongIssuer)
                .comparing(issuers.keys().map(|name| &**name), [&*sent])
                .unverified()
        })
    }

    /// Returns whether these rules are still accepted, and not others of the same name.
    pub(super) fn has(&self, rules: &Arc<IssuerRules>) -> bool {
        match self {
            Self::One(one) => Arc::ptr_eq(one, rules),
            Self::Several(issuers) => {
                let current = issuers.shared.current.load();
                let known = rules.name.as_deref().and_then(|name| current.get(name));
                known.is_some_and(|known| Arc::ptr_eq(known, rules))
            }
        }
    }

    /// Returns whether more than one issuer may be accepted at a time.
    pub(super) fn are_several(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Several(issuers) => match issuers.shared.given {
                Given::Nothing => true,
                Given::List { issuers, .. } => issuers > 1,
            },
        }
    }

    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        match self {
            Self::One(rules) => rules.keys.use_clock(clock),
            Self::Several(issuers) => {
                let clock = issuers.shared.clock.get_or_init(|| Arc::clone(clock));
                for rules in issuers.shared.current.load().values() {
                    rules.keys.use_clock(clock);
                }
            }
        }
    }

    pub(super) fn validate(&self, provider: CryptoProvider) -> Result<(), TokenConfigError> {
        let shared = match self {
            Self::One(rules) => return rules.validate(provider),
            Self::Several(issuers) => &issuers.shared,
        };
        match shared.given {
            Given::List { issuers, names } if issuers == 0 || names < issuers => {
                return Err(TokenConfigError::Issuers);
            }
            _ => {}
        }
        // From now on, `insert` validates.
        let _ = shared.provider.set(provider);
        let current = shared.current.load();
        let mut all = current.values();
        all.try_for_each(|rules| rules.validate(provider))
    }
}
