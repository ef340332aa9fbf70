//! Makes a request one of a user, without a layer.

use http::Request;

use crate::{
    context::{Identity, UserContext, UserId},
    factory::Scoped,
};

/// Makes a request one of a user.
#[expect(
    clippy::wrong_self_convention,
    reason = "it reads as what it does: this request, as alice"
)]
pub trait AsUser: Sized {
    /// Inserts a context of this user, as verified; a layer with
    /// [`ExistingContext`](crate::ExistingContext) takes it up.
    ///
    /// # Panics
    /// If the text is not a user id.
    #[must_use]
    fn as_user(self, user_id: &str) -> Self {
        let user_id = UserId::try_from(user_id);
        let user_id = user_id.unwrap_or_else(|error| panic!("not a user to test with: {error}"));
        self.with_context(UserContext::builder(Identity::proved(user_id)).build())
    }

    /// Inserts a context of this user and the factory that its handler is to find, as a layer
    /// would.
    ///
    /// It is checked as with the default settings of a layer. That a test uses it outside every
    /// scope is not reported, because no layer opened one.
    ///
    /// # Panics
    /// If the text is not a user id.
    #[must_use]
    fn as_user_with<F: Send + Sync + 'static>(self, user_id: &str, factory: F) -> Self;

    /// Inserts a context.
    #[must_use]
    fn with_context(self, context: UserContext) -> Self;
}

impl<B> AsUser for Request<B> {
    fn as_user_with<F: Send + Sync + 'static>(self, user_id: &str, factory: F) -> Self {
        let mut request = self.as_user(user_id);
        if let Some(context) = request.extensions().get::<UserContext>().cloned() {
            request
                .extensions_mut()
                .insert(Scoped::untracked(context, factory));
        }
        request
    }

    fn with_context(mut self, context: UserContext) -> Self {
        self.extensions_mut().insert(context);
        self
    }
}
