//! What is built: the application's own factory, fresh for each request.
//!
//! Shared infrastructure goes in as the application's own type; nothing here keeps a user.

mod lazy;
mod make_factory;
pub(crate) mod provide;
mod scoped;

#[cfg(feature = "tokio")]
pub use self::lazy::LazyAsync;
#[cfg(feature = "tokio")]
pub(crate) use self::lazy::{LazyAsyncFn, LazyLimit};
pub use self::{
    lazy::{FactoryError, Lazy},
    make_factory::{
        ContextOnly, FactoryAsyncFn, FactoryFn, FactoryUnavailable, MakeFactory, TryFactoryFn,
    },
    provide::{NoFactory, ProvideFactory, Provided},
    scoped::{Lent, Scoped},
};
pub(crate) use self::{
    lazy::{LazyFn, failure},
    provide::Shapes,
};

/// Any error of the application's, as Tower passes them on.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
