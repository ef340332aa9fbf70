//! A handle that shows where an object that all requests share is still used.
//!
//! For the way from a shared object to a factory for each request, which
//! [the guide on migrating](crate::guide::migrating) describes. [`Singleton`] stands where `Arc` stood.
//! Each use through it is counted, with its place in the program and, inside a [`RouteLayer`], with its
//! route: in the log, in a metric, and in a [`SingletonReport`]. At the end
//! [`Singleton<T, Removed>`](Removed) makes each use that is left an error of the compiler.
//!
//! Knows nothing of a layer: it works on routes without one too, which are those that are left.
//!
//! ```
//! use tower_user_scope::migration::Singleton;
//!
//! struct Orders;
//! impl Orders { fn list(&self) -> String { "orders".to_owned() } }
//!
//! // Was: `type SharedOrders = Arc<Orders>;`
//! type SharedOrders = Singleton<Orders>;
//!
//! let orders = SharedOrders::new(Orders);
//! orders.list();
//! orders.list();
//! let report = Singleton::report(&orders);
//! assert_eq!(report.total(), 2);
//! assert_eq!(report.uses().len(), 2, "two places in the program");
//! ```

mod report;
mod route;
mod singleton;
mod uses;

pub use self::{
    report::{SingletonReport, SingletonUse},
    route::{RouteFuture, RouteLayer, RouteService},
    singleton::{InUse, Removed, Singleton},
};
