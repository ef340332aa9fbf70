//! What is built: the application's own factory, fresh for each request.
//!
//! Shared infrastructure goes in as the application's own type; nothing here keeps a user.
//!
//! ```
//! use tower_user_scope::{ExistingContext, UserContext, UserScopeLayer};
//!
//! /// Reads what one user owns.
//! struct Documents {
//!     user: UserContext,
//! }
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .factory(|user| Documents { user: user.clone() })
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```

mod boxed;
mod lazy;
mod make_factory;
pub(crate) mod provide;
pub(crate) mod scoped;

#[cfg(feature = "tokio")]
pub(crate) use self::lazy::LazyLimit;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::lazy::{LazyAsync, LazyAsyncFn};
pub use self::{
    boxed::{BoxFactory, BoxMakeFactory},
    lazy::{FactoryError, Lazy, LazyFn},
    make_factory::{
        ContextOnly, FactoryAsyncFn, FactoryFn, FactoryUnavailableError, MakeFactory, TryFactoryFn,
    },
    provide::{NoFactory, ProvideFactory, Provided},
    scoped::Unchecked,
};
pub(crate) use self::{lazy::failure, provide::Shapes, scoped::Scoped};
pub use crate::rejection::kind::FactoryErrorKind;

/// Any error of the application's, as Tower passes them on.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
