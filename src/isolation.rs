//! The settings of the check that a factory stays with its user.

/// What happens when one user's factory is used in another user's scope.
///
/// Two users are equal if their [`Subject`](crate::context::Subject)s are: principal and tenant. Two
/// anonymous requests are two users, unless one continues the other.
///
/// Where two layers have a say, the stricter setting counts: the layer that built the factory, the
/// one whose scope the factory is used in, and the layers around each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// The use is refused and audited.
    #[default]
    Enforce,
    /// The use is audited and allowed, to find leaks before they are refused.
    Report,
    /// The use is not checked.
    Off,
}

/// A layer's settings of the check. They travel with the layer's contexts and factories.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    pub(crate) isolation: Isolation,
    pub(crate) require_scope: bool,
    pub(crate) require_open_scope: bool,
}

impl Checks {
    /// The settings of a context that no layer made. They add nothing to those of a layer.
    pub(crate) const NONE: Self = Self {
        isolation: Isolation::Off,
        require_scope: false,
        require_open_scope: false,
    };

    pub(crate) fn stricter(self, other: Self) -> Self {
        use Isolation::{Enforce, Off, Report};

        Self {
            isolation: match (self.isolation, other.isolation) {
                (Enforce, _) | (_, Enforce) => Enforce,
                (Report, _) | (_, Report) => Report,
                (Off, Off) => Off,
            },
            require_scope: self.require_scope || other.require_scope,
            require_open_scope: self.require_open_scope || other.require_open_scope,
        }
    }
}

/// The settings of a layer that sets none.
impl Default for Checks {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            ..Self::NONE
        }
    }
}
