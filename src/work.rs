//! Work that is not a request: it gets a scope and a factory, as a request does.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use http::{Method, Request, Uri, request::Parts};

use crate::{
    authorize::Authorize,
    context::UserContext,
    factory::ProvideFactory,
    layer::UserScopeLayer,
    policy::{Policy, Step},
    rejection::Rejection,
    resolve::{Refused, StrategyList},
    scope::{OpenScope, Running, WorkOutput},
    time_limit::Deadline,
};

/// # Work that is not a request
impl<L, M, A> UserScopeLayer<L, M, A>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Runs work that is not a request in a scope of this context's user, with a factory of its own:
    /// a job, a message of a queue or a WebSocket, a call of a tool, a command.
    ///
    /// Nobody is resolved, because the context says whose work it is. The rest is as for a request: the
    /// `authorize` step is asked, the work is counted by the layer's limits, the factory is built, and
    /// the scope is opened, which closes when the future is ready or dropped. Audit events and
    /// `on_close` hooks tell how: the scope of work that returns an `Err` ends as
    /// [`Failed`](crate::scope::Ending::Failed). Steps before the response are not taken, because there
    /// is no response: the work has to commit what it does.
    ///
    /// The closure gets a [`Scoped`](crate::Scoped), or from a layer without a factory the
    /// [`UserContext`]. That context has the ids of the given one, and the name of the work
    /// ([`UserContext::work`]), which is in its audit events. Where one request has several pieces of
    /// work, give each a [`child`](UserContext::child) of its context, with a request id of its own.
    ///
    /// The `authorize` step sees a head with the method `WORK` and the URI `*`, which no request has.
    /// A step that decides by paths has to look at `UserContext::work` first.
    ///
    /// The future does not borrow from the layer, so that it can be spawned. It needs no runtime,
    /// except for time limits.
    ///
    /// # Errors
    /// [`Rejection`] if the work may not begin: its identity has ended or is only asserted where the
    /// layer [asks for proof](crate::middleware::LayerBuilder::require_proved), the principal may not,
    /// a limit is used up, or no factory was built. The closure has not been called then.
    ///
    /// # Panics
    /// Where the work panics, after its scope was closed.
    ///
    /// # Cancel safety
    /// Where the future is dropped, the work is dropped in its scope, which then closes as
    /// [`Cancelled`](crate::scope::Ending::Cancelled).
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ExistingContext, Identity, Scoped, UserContext, UserId, UserScopeLayer,
    /// };
    ///
    /// struct Invoices {
    ///     owner: Option<UserId>,
    /// }
    ///
    /// impl Invoices {
    ///     async fn send(&self) -> Result<String, std::io::Error> {
    ///         Ok(format!("the invoices of {:?}", self.owner))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .factory(|user| Invoices { owner: user.user_id().cloned() })
    ///     .on_close(|closed| println!("{:?}: {:?}", closed.context().work(), closed.ending()))
    ///     .build()?;
    ///
    /// let alice = UserContext::builder(Identity::asserted("alice".parse::<UserId>()?)).build();
    /// let work = async |invoices: Scoped<Invoices>| invoices.send().await;
    /// let sent = layer.run("send_invoices", &alice, work).await??;
    /// assert_eq!(sent, r#"the invoices of Some(UserId("alice"))"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<W, Fut>(
        &self,
        name: &'static str,
        context: &UserContext,
        work: W,
    ) -> impl Future<Output = Result<Fut::Output, Rejection>> + use<L, M, A, W, Fut>
    where
        W: FnOnce(M::Handle) -> Fut,
        Fut: Future<Output: WorkOutput>,
    {
        let policy = Arc::clone(&self.policy);
        let context = context.of_work(name, policy.handles());
        async move {
            let opened = open(&policy, context).await;
            let (mut scope, handle) = opened.map_err(|refused| {
                policy.audit.emit(&refused.event(None, None));
                refused.rejection
            })?;
            let future = scope.run(|| work(handle));
            let mut running = pin!(Running::new(future, scope));
            let output = poll_fn(|cx| running.as_mut().poll(cx)).await;
            if let Some(mut scope) = running.take_scope() {
                scope.ends(output.ending());
            }
            Ok(output)
        }
    }
}

/// Takes the steps of a request from the context on.
async fn open<L, M, A>(
    policy: &Policy<L, M, A>,
    context: UserContext,
) -> Result<(OpenScope, M::Handle), Box<Refused>>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    if let Err(rejection) = policy.resolver.check(&context) {
        return Err(Box::new(Refused::of(&context, rejection)));
    }
    let mut head = head_of_work();
    let mut step = policy.identified(&mut head, context);
    let mut deadline = pin!(Deadline::default());
    let mut scope = loop {
        step = match step {
            Step::Call(scope) => break scope,
            Step::Pass => unreachable!("it is for requests"),
            Step::Reject(refused) => return Err(refused),
            Step::Wait(stage) => {
                let since = policy.audit.now();
                let mut stage = pin!(stage);
                poll_fn(|cx| {
                    let (stage, deadline) = (stage.as_mut(), deadline.as_mut());
                    stage.poll_step(deadline, since, policy, &mut head, cx)
                })
                .await
            }
        };
    };
    let Some(handle) = head.extensions.remove::<M::Handle>() else {
        unreachable!("the factory is built, and so its handle is inserted")
    };
    // What else was inserted for handlers would count as still held.
    scope.run(|| drop(head));
    Ok((scope, handle))
}

/// Returns the head that `authorize` steps see: of no request, so that a step that lets some paths or
/// methods through does not take it for one of them.
fn head_of_work() -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.uri = Uri::from_static("*");
    let Ok(method) = Method::from_bytes(b"WORK") else {
        unreachable!("it is a token")
    };
    head.method = method;
    head
}
