//! B11, B15, B31, B34: state that threads and tasks share is correct in all interleavings.
//!
//! Shuttle decides at each step which task continues. It tries all orders with `check_dfs`, and
//! thousands of random ones elsewhere. A step is one operation of the public
//! interface. Behind it, threads share a reference count, a flag and a cell that is written once, all
//! of the standard library, and everything else in a scope has one owner. The current scope belongs to
//! one thread and is set only inside of a step, so the models vary the order in which tasks
//! of one thread are polled.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use shuttle::{check_dfs, check_random, rand::Rng, thread};
use tower::{Service, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Outcome, Scoped, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    from_async_fn,
    scope::{Ending, InstrumentScope},
};

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn context(user: &str) -> UserContext {
    let id = UserId::try_from(user).expect("a valid user id");
    UserContext::builder(Identity::proved(id)).build()
}

fn request(user: &str, method: Method) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    request.extensions_mut().insert(context(user));
    request
}

fn current() -> Option<String> {
    let id = UserContext::current()?.user_id()?.to_string();
    Some(id)
}

/// Yields to other tasks once.
async fn waits() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future to its end on this thread. Other tasks run in between.
fn drive<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        let polled = poll_once(future.as_mut());
        thread::yield_now();
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let polled = future.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(current(), None, "nothing stays current after a poll");
    polled
}

/// The events of a model, in order.
type Log = Arc<Mutex<Vec<String>>>;

struct Agents {
    owner: String,
    log: Log,
}

impl Agents {
    fn new(user: &UserContext, log: &Log) -> Self {
        Self {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
            log: log.clone(),
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        lock(&self.log).push(format!("{}'s factory is gone", self.owner));
        if current().is_none() {
            thread::yield_now();
        }
    }
}

/// Passes on the handles of one request, and responds.
fn open(
    method: &Method,
    clones: usize,
    log: &Log,
    observe: impl Fn(&AuditEvent<'_>) + Send + Sync + 'static,
) -> (Vec<Scoped<Agents>>, LocalBoxFuture<'static, Response<()>>) {
    let (builds, at_close) = (log.clone(), log.clone());
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(move |user: &UserContext| Agents::new(user, &builds))
        .observer(observe)
        .on_close(move |scope| {
            assert_eq!(
                current().as_deref(),
                scope.context().user_id().map(UserId::as_str),
                "a hook runs in the scope that closes"
            );
            lock(&at_close).push(format!("closed, {}", scope.ending().as_str()));
        })
        .build()
        .expect("a valid configuration");
    let handles = Arc::new(Mutex::new(Vec::new()));
    let given = handles.clone();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let own = request.scoped::<Agents>().expect("inside the layer");
        lock(&given).extend(vec![own.clone(); clones]);
        async {
            waits().await;
            drop(request);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"whole"))))
        }
    }));
    let future = service.call(request("alice", method.clone()));
    let handles = std::mem::take(&mut *lock(&handles));
    let response = async {
        let (head, body) = future.await.expect("infallible").into_parts();
        waits().await;
        body.collect().await.expect("infallible");
        Response::from_parts(head, ())
    };
    (handles, Box::pin(response))
}

#[test]
fn b31_an_upgraded_scope_closes_once_with_the_last_handle_in_every_order() {
    check_dfs(
        || {
            let log = Log::default();
            let (handles, response) = open(&Method::CONNECT, 2, &log, |_| {});
            let holders = handles.into_iter().map(|handle| {
                let log = log.clone();
                thread::spawn(move || {
                    let again = Scoped::keep(&handle);
                    thread::yield_now();
                    drop(handle);
                    thread::yield_now();
                    assert!(lock(&log).is_empty(), "open while it is held");
                    drop(again);
                })
            });
            let holders: Vec<_> = holders.collect();
            drive(response);
            for holder in holders {
                holder.join().expect("no panic");
            }
            assert_eq!(
                *lock(&log),
                ["alice's factory is gone", "closed, completed"],
                "once, after the factory"
            );
        },
        None,
    );
}

#[test]
fn b15_a_scope_says_at_its_end_exactly_who_still_holds_it_in_every_order() {
    for keeps in [false, true] {
        check_dfs(
            move || {
                let held = Arc::new(AtomicUsize::new(2));
                let (log, alarms, closed) = (Log::default(), Log::default(), Log::default());
                let (alarm, close) = (alarms.clone(), closed.clone());
                let holds = held.clone();
                let observe = move |event: &AuditEvent<'_>| match event {
                    AuditEvent::FactoryRetained { holders, .. } => {
                        lock(&alarm).push(format!("held by {holders}"));
                    }
                    AuditEvent::ScopeClosed { .. } => {
                        let held = holds.load(Ordering::SeqCst);
                        if held > 0 {
                            lock(&close).push(format!("held by {held}"));
                        }
                    }
                    _ => {}
                };
                let (handles, response) = open(&Method::GET, 2, &log, observe);
                let holders = handles.into_iter().map(|handle| {
                    let held = held.clone();
                    thread::spawn(move || {
                        thread::yield_now();
                        let kept = keeps.then(|| Scoped::keep(&handle));
                        // The counter and the counted value change in one step.
                        drop(handle);
                        held.fetch_sub(1, Ordering::SeqCst);
                        thread::yield_now();
                        drop(kept);
                    })
                });
                let holders: Vec<_> = holders.collect();
                drive(response);
                for holder in holders {
                    holder.join().expect("no panic");
                }
                assert_eq!(*lock(&alarms), *lock(&closed), "as the model counted");
                let mut lines = lock(&log).clone();
                lines.sort();
                let all = ["alice's factory is gone", "closed, completed"];
                assert_eq!(lines, all, "each once");
            },
            None,
        );
    }
}

#[test]
fn scopes_that_nest_and_interleave_are_restored_in_every_order() {
    async fn nested(outer: &'static str, inner: &'static str) {
        let sees = async |user: &str| {
            assert_eq!(current().as_deref(), Some(user), "before it waits");
            waits().await;
            assert_eq!(current().as_deref(), Some(user), "after it has waited");
        };
        async {
            sees(outer).await;
            sees(inner).in_scope(context(inner)).await;
            let never = async {
                sees(inner).await;
                std::future::pending::<()>().await;
            };
            let mut never = Box::pin(never.in_scope(context(inner)));
            poll_fn(|cx| Poll::Ready(never.as_mut().poll(cx).is_pending())).await;
            drop(never);
            assert_eq!(current().as_deref(), Some(outer), "after one is given up");
        }
        .in_scope(context(outer))
        .await;
        assert_eq!(current(), None, "and none outside");
    }
    check_dfs(
        || {
            let others = [("alice", "bob"), ("bob", "alice"), ("carol", "carol")];
            let tasks = others.map(|(outer, inner)| shuttle::future::spawn(nested(outer, inner)));
            shuttle::future::block_on(async {
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
            assert_eq!(current(), None, "none where they were polled");
        },
        Some(20_000),
    );
}

#[test]
fn the_last_handle_may_go_in_the_scope_of_another_user() {
    check_dfs(
        || {
            let log = Log::default();
            let (handles, response) = open(&Method::CONNECT, 2, &log, |_| {});
            let holders = handles.into_iter().zip(["bob", "carol"]);
            let holders: Vec<_> = holders
                .map(|(handle, user)| {
                    thread::spawn(move || {
                        drive(
                            async {
                                waits().await;
                                drop(handle);
                                assert_eq!(current().as_deref(), Some(user), "restored");
                            }
                            .in_scope(context(user)),
                        );
                    })
                })
                .collect();
            drive(response);
            for holder in holders {
                holder.join().expect("no panic");
            }
            let all = ["alice's factory is gone", "closed, completed"];
            assert_eq!(*lock(&log), all, "once");
        },
        None,
    );
}

/// A client that reads the response, or gives up after some polls.
struct Fate {
    user: &'static str,
    polls: usize,
}

#[test]
fn b34_requests_that_wait_everywhere_and_are_given_up_anywhere_close_what_they_opened() {
    check_random(
        || {
            let (log, opened) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
            let (builds, at_close, opens) = (log.clone(), Arc::default(), opened.clone());
            let endings: Arc<Mutex<Vec<(String, Ending)>>> = Arc::clone(&at_close);
            let strategy = from_async_fn(CredentialSource::header("x-user"), |head| {
                let user = head.headers.get("x-user").cloned();
                async move {
                    waits().await;
                    let user = user.as_ref().and_then(|user| user.to_str().ok());
                    match user.map(str::parse::<UserId>) {
                        Some(Ok(id)) => Identity::proved(id).into(),
                        _ => Outcome::Absent,
                    }
                }
            });
            let layer = UserScopeLayer::builder()
                .strategy(strategy)
                .factory_async(move |user| {
                    let log = builds.clone();
                    async move {
                        waits().await;
                        Ok::<_, Infallible>(Agents::new(&user, &log))
                    }
                })
                .observer(move |event: &AuditEvent<'_>| {
                    if let AuditEvent::Accepted { context, .. } = event {
                        lock(&opens).push(context.user_id().expect("a user").to_string());
                    }
                })
                .on_close(move |scope| {
                    let user = scope.context().user_id().expect("a user").to_string();
                    lock(&at_close).push((user, scope.ending()));
                })
                .build()
                .expect("a valid configuration");
            let service = layer.layer(service_fn(async |request: Request<()>| {
                let sender = request.headers()["x-user"]
                    .to_str()
                    .expect("ASCII")
                    .to_owned();
                let agents = request.scoped::<Agents>().expect("inside the layer");
                for _ in 0..2 {
                    assert_eq!(agents.owner, sender, "the sender's factory");
                    assert_eq!(current(), Some(sender.clone()), "and scope");
                    waits().await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(agents.owner.clone()))))
            }));
            let clients = ["alice", "bob", "alice", "carol"].map(|user| {
                let polls = shuttle::rand::thread_rng().gen_range(0..9);
                let mut service = service.clone();
                thread::spawn(move || {
                    let fate = Fate { user, polls };
                    let request = Request::get("/").header("x-user", fate.user);
                    let mut future = Box::pin(service.call(request.body(()).expect("a request")));
                    for _ in 0..fate.polls {
                        let polled = poll_once(future.as_mut());
                        thread::yield_now();
                        if let Poll::Ready(response) = polled {
                            let body = response.expect("infallible").into_body();
                            let body = drive(body.collect()).expect("infallible");
                            assert_eq!(body.to_bytes(), fate.user, "their own answer");
                            return Some(fate.user.to_owned());
                        }
                    }
                    None
                })
            });
            let answered = clients.map(|client| client.join().expect("no panic"));
            let mut answered: Vec<_> = answered.into_iter().flatten().collect();

            let (mut opened, endings) = (lock(&opened).clone(), lock(&endings).clone());
            let gone = lock(&log).len();
            assert_eq!(gone, opened.len(), "each factory that was built is gone");
            let mut closed: Vec<_> = endings.iter().map(|(user, _)| user.clone()).collect();
            let mut completed: Vec<_> = endings
                .into_iter()
                .filter(|(_, ending)| *ending == Ending::Completed)
                .map(|(user, _)| user)
                .collect();
            for users in [&mut opened, &mut closed, &mut completed, &mut answered] {
                users.sort();
            }
            assert_eq!(closed, opened, "each scope that was opened closed once");
            assert_eq!(
                completed, answered,
                "and is completed where it was answered"
            );
        },
        5_000,
    );
}
