//! The kinds of things that a check finds.

use std::fmt;

use super::Location;
use crate::scope::IsolationError;

/// A leak, or another reason why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// One user's factory was used in another user's scope.
    CrossUserAccess(IsolationError),
    /// A factory was still held when its scope had closed and the service was idle.
    #[non_exhaustive]
    FactoryRetained {
        /// Whose it is.
        owner: String,
        /// The type of the factory.
        factory: &'static str,
    },
    /// A response to one user holds an id or a secret of another.
    #[non_exhaustive]
    ForeignBytes {
        /// Who got the response.
        reader: String,
        /// Whose it is; a user of an earlier check has no name.
        owner: Option<String>,
        /// `id`, or the secret's name.
        what: String,
        /// Its form: `plain`, `escaped`, `base64`, `hexadecimal`, `UTF-16`, `gzip`.
        form: &'static str,
        /// Where it was.
        location: Location,
    },
    /// A user sees something else among others than alone.
    #[non_exhaustive]
    Interference {
        /// Who sees it.
        reader: String,
        /// Where it was seen.
        location: Location,
        /// What stood there in each run without others; `None` where nothing did.
        alone: Option<String>,
        /// What stood there in a run among others.
        among: Option<String>,
        /// The fewest requests of others that are enough for it, in their order.
        because: Vec<String>,
        /// Whether it changes with what others send, and not only with their requests' number and
        /// kind: a leak of content. `None` if that was not found out.
        of_content: Option<bool>,
    },
    /// What somebody else created is answered in another way than what does not exist.
    #[non_exhaustive]
    ForeignThing {
        /// Who asked for it.
        reader: String,
        /// Who created it.
        owner: String,
        /// Its kind.
        kind: String,
        /// Where the answers differ.
        location: Location,
        /// What the answer for a thing that does not exist says there.
        missing: Option<String>,
        /// What the answer for the other's thing says there.
        foreign: Option<String>,
    },
    /// A secret is in a log.
    #[non_exhaustive]
    Logged {
        /// Whose secret it is.
        owner: String,
        /// The secret's name.
        what: String,
        /// The log line's target.
        target: String,
        /// What stands around it.
        excerpt: String,
    },
    /// The service panicked, as it does where a factory's check refuses.
    #[non_exhaustive]
    Panicked {
        /// In whose request.
        reader: String,
        /// Method and path.
        request: String,
        /// What the panic said.
        message: String,
    },
    /// An exchange had no end within the limits of the check.
    #[non_exhaustive]
    Unfinished {
        /// Whose request it is.
        reader: String,
        /// Method and path.
        request: String,
        /// What it waited for, or that it still sent.
        state: String,
        /// How many frames of the body were read.
        frames: usize,
    },
    /// Scopes were opened that nothing has closed, though every request is over.
    #[non_exhaustive]
    ScopesLeftOpen {
        /// How many.
        count: usize,
    },
    /// A scenario failed though its user was alone.
    #[non_exhaustive]
    ScenarioFailed {
        /// Whose scenario it is.
        user: String,
        /// What the panic said.
        message: String,
    },
    /// So much differs from run to run that a difference would not be noticed.
    #[non_exhaustive]
    TooMuchNoise {
        /// Whose responses they are.
        reader: String,
        /// How many places differ between runs of this user alone.
        differing: usize,
        /// How many places there are.
        places: usize,
    },
    /// The recorder has no event: no layer has a clone of it as its observer.
    NoEvents,
    /// The check could not have found a leak.
    #[non_exhaustive]
    ShowsNothing {
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// Returns a word for the kind of finding, as in the exported reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CrossUserAccess(_) => "cross_user_access",
            Self::FactoryRetained { .. } => "factory_retained",
            Self::ForeignBytes { .. } => "foreign_bytes",
            Self::Interference { .. } => "interference",
            Self::ForeignThing { .. } => "foreign_thing",
            Self::Logged { .. } => "logged",
            Self::Panicked { .. } => "panicked",
            Self::Unfinished { .. } => "unfinished",
            Self::ScopesLeftOpen { .. } => "scopes_left_open",
            Self::ScenarioFailed { .. } => "scenario_failed",
            Self::TooMuchNoise { .. } => "too_much_noise",
            Self::NoEvents => "no_events",
            Self::ShowsNothing { .. } => "shows_nothing",
        }
    }

    /// Returns where it was seen in a response, if it was.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::ForeignBytes { location, .. }
            | Self::Interference { location, .. }
            | Self::ForeignThing { location, .. } => Some(location),
            _ => None,
        }
    }

    /// Returns whether something was still held when it should not be.
    pub(in crate::testing) fn is_of_what_is_held(&self) -> bool {
        matches!(
            self,
            Self::FactoryRetained { .. } | Self::ScopesLeftOpen { .. }
        )
    }

    /// Causes come before what they cause: the guard tells the factory's type, bytes only tell
    /// that something leaks.
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::CrossUserAccess(_) => 0,
            Self::FactoryRetained { .. } => 1,
            Self::ForeignBytes { .. } => 2,
            Self::ForeignThing { .. } => 3,
            Self::Interference { .. } => 4,
            Self::Logged { .. } => 5,
            Self::Unfinished { .. } => 6,
            Self::ScopesLeftOpen { .. } => 7,
            Self::Panicked { .. } => 8,
            Self::ScenarioFailed { .. } => 9,
            Self::TooMuchNoise { .. } => 10,
            Self::NoEvents => 11,
            Self::ShowsNothing { .. } => 12,
        }
    }

    /// Returns what findings of one cause have in common.
    pub(super) fn cause(&self) -> String {
        let route = self.location().map(Location::route).unwrap_or_default();
        let detail = match self {
            Self::CrossUserAccess(
                IsolationError::OtherUser { factory, .. } | IsolationError::NoScope { factory, .. },
            )
            | Self::FactoryRetained { factory, .. } => (*factory).to_owned(),
            Self::ForeignBytes { what, location, .. } => format!("{what} {}", location.place),
            Self::Interference { location, .. } => super::location::route(&location.place),
            Self::ForeignThing { kind, .. } => kind.clone(),
            Self::Logged { what, target, .. } => format!("{what} {target}"),
            Self::Panicked { request, .. } | Self::Unfinished { request, .. } => {
                super::location::route(request)
            }
            _ => String::new(),
        };
        format!("{} {route} {detail}", self.kind())
    }
}

/// A value at a place, which may have none.
struct Value<'a>(&'a Option<String>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer values are cut.
        const SHOWN: usize = 80;
        match self.0 {
            None => f.write_str("nothing"),
            Some(value) => {
                let shown: String = value.chars().take(SHOWN).collect();
                write!(f, "{shown:?}")?;
                f.write_str(if shown.len() < value.len() { ".." } else { "" })
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrossUserAccess(violation) => write!(f, "{violation}"),
            Self::FactoryRetained { owner, factory } => write!(
                f,
                "`{factory}` of {owner} was still held after its scope had closed"
            ),
            Self::ForeignBytes {
                reader,
                owner,
                what,
                form,
                location,
            } => {
                let owner = owner.as_deref().unwrap_or("a user of an earlier check");
                write!(
                    f,
                    "{reader} read the {what} of {owner} ({form}) in {location}: \"{}\"",
                    location.excerpt
                )
            }
            Self::Interference {
                reader,
                location,
                alone,
                among,
                because,
                of_content,
            } => {
                write!(
                    f,
                    "what {reader} sees depends on others: {location} is {} alone and {} among others",
                    Value(alone),
                    Value(among),
                )?;
                if !because.is_empty() {
                    write!(f, ", because {}", because.join(", then "))?;
                }
                f.write_str(match of_content {
                    Some(true) => "; it changes with what they send",
                    Some(false) => "; it does not change with what they send",
                    None => "",
                })
            }
            Self::ForeignThing {
                reader,
                owner,
                kind,
                location,
                missing,
                foreign,
            } => write!(
                f,
                "{reader} asked for what {owner} created ({kind}): {location} is {}, and {} where there is \
                 no such thing",
                Value(foreign),
                Value(missing),
            ),
            Self::Logged {
                owner,
                what,
                target,
                excerpt,
            } => write!(
                f,
                "the {what} of {owner} is in a log line of {target}: \"{excerpt}\""
            ),
            Self::Panicked {
                reader,
                request,
                message,
            } => write!(f, "{request} of {reader} panicked: {message}"),
            Self::Unfinished {
                reader,
                request,
                state,
                frames,
            } => write!(
                f,
                "{request} of {reader} had no end: it {state}, after {frames} frames"
            ),
            Self::ScopesLeftOpen { count } => write!(f, "{count} scopes were never closed"),
            Self::ScenarioFailed { user, message } => {
                write!(f, "the scenario of {user} failed without others: {message}")
            }
            Self::TooMuchNoise {
                reader,
                differing,
                places,
            } => write!(
                f,
                "no verdict: {differing} of {places} places in what {reader} sees differ from run to run"
            ),
            Self::NoEvents => {
                f.write_str("the recorder has no event: use a clone of it as the layer's observer")
            }
            Self::ShowsNothing { reason } => {
                write!(f, "the check could not have found a leak: {reason}")
            }
        }
    }
}
