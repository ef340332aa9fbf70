//! The handle.

use std::{
    any::type_name, borrow::Borrow, fmt, marker::PhantomData, ops::Deref, panic::Location,
    sync::Arc,
};

use super::{SingletonReport, uses::Uses};

/// An object that all requests share, whose uses are counted.
///
/// It dereferences to the object, as an `Arc` does, so that changing a type alias or the type of a
/// field is all that a migration starts with. Clones share the object and its counts.
///
/// The first use of each place, and on each route of a [`RouteLayer`](super::RouteLayer), is a line of the log at level
/// `warn` with the target `tower_user_scope::migration`. Each use adds one to the
/// [report](Self::report) and, with the feature `metrics`, to `user_scope_singleton_uses_total`. Uses
/// at more than 256 pairs of a place and a route are counted together.
///
/// A use is a dereference: reading a field, or calling a method through the handle. What the object
/// itself hands out, such as an `Arc` of a part of it, is not seen.
///
/// # The end of the migration
/// `S` is [`InUse`], or [`Removed`] for a handle that does not dereference. With
/// `type SharedOrders = Singleton<Orders, Removed>`, `cargo check` lists each place that is left.
///
/// ```
/// use std::sync::RwLock;
/// use tower_user_scope::migration::Singleton;
///
/// type Db = Singleton<RwLock<Vec<String>>>;
///
/// fn add(db: &Db, todo: &str) {
///     db.write().expect("no panic").push(todo.to_owned());
/// }
///
/// let db = Db::default();
/// add(&db, "tea");
/// add(&db, "milk");
/// let report = Singleton::report(&db);
/// assert_eq!(report.uses()[0].count(), 2);
/// assert!(report.uses()[0].place().is_some_and(|place| place.line() > 0));
/// ```
pub struct Singleton<T: ?Sized, S = InUse> {
    object: Arc<T>,
    uses: Arc<Uses>,
    state: PhantomData<fn() -> S>,
}

/// The state of a [`Singleton`] that may be used.
#[derive(Clone, Copy, Debug)]
pub enum InUse {}

/// The state of a [`Singleton`] that may no longer be used: it does not dereference.
///
/// ```compile_fail,E0599
/// use tower_user_scope::migration::{Removed, Singleton};
///
/// type Db = Singleton<Vec<String>, Removed>;
///
/// fn count(db: &Db) -> usize {
///     db.len()
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Removed {}

impl<T, S> Singleton<T, S> {
    /// Creates a handle of this object.
    #[must_use]
    pub fn new(object: T) -> Self {
        Arc::new(object).into()
    }
}

impl<T: ?Sized, S> Singleton<T, S> {
    /// Returns what is known about the uses until now.
    #[must_use]
    pub fn report(this: &Self) -> SingletonReport {
        SingletonReport::new(type_name::<T>(), this.uses.list())
    }
}

impl<T: ?Sized> Singleton<T> {
    /// Returns the `Arc` of the object, for code that asks for one. This is one use; those of the `Arc`
    /// are not counted.
    #[must_use]
    #[track_caller]
    pub fn to_arc(this: &Self) -> Arc<T> {
        this.uses.count(type_name::<T>(), Location::caller());
        Arc::clone(&this.object)
    }
}

impl<T: ?Sized> Deref for Singleton<T> {
    type Target = T;

    #[track_caller]
    fn deref(&self) -> &T {
        self.uses.count(type_name::<T>(), Location::caller());
        &self.object
    }
}

impl<T: ?Sized> AsRef<T> for Singleton<T> {
    #[track_caller]
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Borrow<T> for Singleton<T> {
    #[track_caller]
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized, S> From<Arc<T>> for Singleton<T, S> {
    fn from(object: Arc<T>) -> Self {
        Self {
            object,
            uses: Arc::default(),
            state: PhantomData,
        }
    }
}

impl<T: Default, S> Default for Singleton<T, S> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized, S> Clone for Singleton<T, S> {
    fn clone(&self) -> Self {
        Self {
            object: Arc::clone(&self.object),
            uses: Arc::clone(&self.uses),
            state: PhantomData,
        }
    }
}

/// Does not show the object: printing the handle is not a use.
impl<T: ?Sized, S> fmt::Debug for Singleton<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleton")
            .field("object", &format_args!("{}", type_name::<T>()))
            .finish_non_exhaustive()
    }
}
