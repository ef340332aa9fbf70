//! The end of a scope by the end of its identity.

use std::future::{Future, pending};

use thiserror::Error;

use crate::{context::UserContext, lifetime::EndReason};

/// A response was cut off, because the identity that opened its scope has ended.
///
/// It is the error of the response's body, unless the client gets an event or a gRPC status instead:
/// see [`end_scopes_at_expiry`](crate::middleware::LayerBuilder::end_scopes_at_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the response was cut off, because its identity has ended: {reason}")]
pub struct ScopeEndedError {
    pub(crate) reason: EndReason,
}

impl ScopeEndedError {
    /// Returns why the identity has ended.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        self.reason
    }
}

impl UserContext {
    /// Waits until the identity of this context's scope has ended, and returns why; for a WebSocket and
    /// other work that goes on for long.
    ///
    /// It waits for ever where the layer does not
    /// [end scopes](crate::middleware::LayerBuilder::end_scopes_at_expiry), and where the identity has
    /// no end. The future is not bound to the scope: it can be moved to another task, and goes on
    /// where the response has been sent.
    ///
    /// ```
    /// use tower_user_scope::UserContext;
    ///
    /// # struct Socket;
    /// # impl Socket {
    /// #     async fn next(&mut self) -> Option<String> { None }
    /// #     async fn close(&mut self, _code: u16, _why: &str) {}
    /// # }
    /// async fn serve(mut socket: Socket, user: UserContext) {
    ///     let mut ended = Box::pin(user.ended());
    ///     loop {
    ///         tokio::select! {
    ///             reason = &mut ended => return socket.close(4401, reason.as_str()).await,
    ///             message = socket.next() => match message {
    ///                 Some(message) => drop(message),
    ///                 None => return,
    ///             },
    ///         }
    ///     }
    /// }
    /// # let _ = serve;
    /// ```
    pub fn ended(&self) -> impl Future<Output = EndReason> + Send + use<> {
        let lifetime = self.life().get().cloned();
        async move {
            match lifetime {
                Some(lifetime) => lifetime.ended().await,
                None => pending().await,
            }
        }
    }
}
