//! B53: work that is not a request, such as a job, gets a scope and a factory as a request does, and
//! closes it with the right ending.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, executor::block_on, poll};
use http::StatusCode;
use tower_user_scope::{
    ExistingContext, Identity, Rejection, Scoped, UnavailableError, UserContext, UserId,
    UserScopeLayer,
    audit::AuditEvent,
    authorize::{Authorize, AuthorizeError, ForbiddenError},
    clock::Clock,
    context::RequestId,
    factory::{FactoryUnavailableError, ProvideFactory},
    middleware::{Empty, LayerBuilder, StrategyList, Then},
    rejection::RejectionKind,
    scope::{Ending, Isolation, WorkOutput},
    strategy::InvalidErrorKind,
    testing::{Recorder, TestClock},
};

/// A factory that says whose it is, and in whose scope it is dropped.
struct Desk {
    owner: String,
    dropped: Arc<Mutex<Vec<String>>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.push(current());
    }
}

fn name(user: &UserContext) -> String {
    user.user_id().map_or_else(String::new, ToString::to_string)
}

/// The user of the current scope.
fn current() -> String {
    UserContext::current().map_or_else(|| "nobody".to_owned(), |user| name(&user))
}

fn context(user: &str) -> UserContext {
    let id = UserId::try_from(user).expect("a user id");
    UserContext::builder(Identity::proved(id))
        .request_id(RequestId::try_from(format!("r-{user}")).expect("an id"))
        .build()
}

fn builder() -> LayerBuilder<Then<Empty, ExistingContext>> {
    UserScopeLayer::builder().strategy(ExistingContext::new())
}

type Dropped = Arc<Mutex<Vec<String>>>;

/// A layer that builds a [`Desk`], with a list of where those were dropped.
fn desks(
    recorder: &Recorder,
) -> (
    UserScopeLayer<
        Then<Empty, ExistingContext>,
        impl ProvideFactory<Handle = Scoped<Desk>, Future: Send> + Send + Sync + 'static + use<>,
    >,
    Dropped,
) {
    let dropped = Dropped::default();
    let shared = Arc::clone(&dropped);
    let layer = builder()
        .factory(move |user| Desk {
            owner: name(user),
            dropped: Arc::clone(&shared),
        })
        // What is inserted for handlers must not count as held.
        .insert_as_arc()
        .observer(recorder.clone())
        .build()
        .expect("good");
    (layer, dropped)
}

fn taken(dropped: &Dropped) -> Vec<String> {
    std::mem::take(&mut *dropped.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The audit's lines.
fn lines(recorder: &Recorder) -> Vec<String> {
    recorder.take().iter().map(ToString::to_string).collect()
}

/// How the scopes that have closed have ended, and of which work.
fn endings(recorder: &Recorder) -> Vec<(Ending, Option<&'static str>)> {
    let events = recorder.take().into_iter();
    let ended = events.filter_map(|event| match event {
        AuditEvent::ScopeClosed {
            ending, context, ..
        } => Some((ending, context.work())),
        _ => None,
    });
    ended.collect()
}

#[tokio::test]
async fn b53_work_gets_a_factory_of_its_user_and_runs_in_its_scope() {
    let recorder = Recorder::new();
    let (layer, dropped) = desks(&recorder);
    let alice = context("alice");
    let work = async |desk: Scoped<Desk>| {
        let before = current();
        tokio::task::yield_now().await;
        let context = Scoped::context(&desk);
        assert_eq!(context.request_id(), alice.request_id());
        assert_eq!(context.thread_id(), alice.thread_id());
        assert_eq!(context.subject(), alice.subject());
        assert_eq!(context.work(), Some("invoices"));
        Ok::<_, Infallible>([desk.owner.clone(), before, current()])
    };
    let seen = layer.run("invoices", &alice, work).await;
    let seen = seen.expect("may begin").expect("infallible");
    assert_eq!(seen, ["alice"; 3]);
    assert_eq!(taken(&dropped), ["alice"], "in its scope");
    assert_eq!(UserContext::current(), None);
    assert_eq!(alice.work(), None, "the given context is as it was");
    let lines = lines(&recorder);
    let [accepted, closed] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(
        accepted,
        "request r-alice, work `invoices` accepted: a user, proved by manual"
    );
    let expected = "request r-alice, work `invoices`: scope completed after ";
    assert!(closed.starts_with(expected), "{closed}");
}

#[tokio::test]
async fn b53_the_scope_of_work_closes_once_with_the_ending_of_the_work() {
    /// An exit code: anything but 0 is a failure.
    struct Exit(u8);
    impl WorkOutput for Exit {
        fn ending(&self) -> Ending {
            match self.0 {
                0 => Ending::Completed,
                _ => Ending::Failed,
            }
        }
    }

    let recorder = Recorder::new();
    let (layer, dropped) = desks(&recorder);
    let alice = context("alice");
    let ended = |ending| vec![(ending, Some("job"))];

    let ok = layer.run("job", &alice, async |_| Ok::<_, io::Error>(7));
    assert_eq!(ok.await.expect("may").expect("infallible"), 7);
    assert_eq!(endings(&recorder), ended(Ending::Completed));

    let unit = layer.run("job", &alice, async |_| {});
    unit.await.expect("may");
    assert_eq!(endings(&recorder), ended(Ending::Completed));

    let failed = layer.run("job", &alice, async |_| {
        Err::<(), _>("the printer is on fire")
    });
    assert_eq!(failed.await.expect("may"), Err("the printer is on fire"));
    assert_eq!(endings(&recorder), ended(Ending::Failed));

    for (code, ending) in [(0, Ending::Completed), (3, Ending::Failed)] {
        let exit = layer.run("job", &alice, async |_| Exit(code));
        assert_eq!(exit.await.expect("may").0, code);
        assert_eq!(endings(&recorder), ended(ending), "{code}");
    }

    let at_once = layer.run("job", &alice, |_| -> std::future::Ready<()> {
        panic!("on purpose")
    });
    assert!(AssertUnwindSafe(at_once).catch_unwind().await.is_err());
    assert_eq!(endings(&recorder), ended(Ending::Panicked));

    let waiting = layer.run("job", &alice, async |_| -> () {
        tokio::task::yield_now().await;
        panic!("on purpose")
    });
    assert!(AssertUnwindSafe(waiting).catch_unwind().await.is_err());
    assert_eq!(endings(&recorder), ended(Ending::Panicked));

    {
        let mut cancelled = pin!(layer.run("job", &alice, async |_desk| pending::<()>().await));
        assert!(poll!(cancelled.as_mut()).is_pending());
        assert_eq!(endings(&recorder), [], "it is still open");
    }
    assert_eq!(endings(&recorder), ended(Ending::Cancelled));

    drop(layer.run("job", &alice, async |_| {}));
    assert_eq!(endings(&recorder), [], "it has never begun");
    assert_eq!(taken(&dropped), ["alice"; 8], "each in its scope");
}

#[tokio::test]
async fn b53_the_layers_hooks_run_when_work_ends() {
    let closed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&closed);
    let layer = builder()
        .factory(name)
        .on_close(move |scope| {
            let owner = scope.scoped::<String>().map(|owner| owner.to_string());
            let line = (owner, current(), scope.status(), scope.bytes());
            seen.lock().expect("no panic").push(line);
        })
        .build()
        .expect("good");
    layer
        .run("job", &context("alice"), async |_| {})
        .await
        .expect("may");
    let expected = (Some("alice".to_owned()), "alice".to_owned(), None, 0);
    assert_eq!(*closed.lock().expect("no panic"), [expected]);
}

/// Runs work of alice that must not begin, and returns why it may not.
async fn refused<L, M, A>(
    recorder: &Recorder,
    layer: Result<UserScopeLayer<L, M, A>, tower_user_scope::ConfigError>,
    context: &UserContext,
) -> Rejection
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    let begun = AtomicUsize::new(0);
    let layer = layer.expect("good");
    let result = layer.run("export", context, |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        ready(())
    });
    let rejection = result.await.expect_err("a refusal");
    assert_eq!(begun.into_inner(), 0, "{rejection}");
    let mut events = recorder.take();
    // Some of the steps are waited for.
    events.retain(|event| !matches!(event, AuditEvent::Waited { .. }));
    let [
        AuditEvent::Refused {
            rejection: audited,
            subject,
            request_id,
            method: None,
            path: None,
            work: Some("export"),
            peer: None,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(audited.to_string(), rejection.to_string());
    assert_eq!(subject.as_deref(), Some(context.subject()));
    assert_eq!(request_id.as_deref(), Some(context.request_id()));
    let line = events[0].to_string();
    let expected = format!(
        "request r-alice, work `export` refused with {}",
        rejection.status()
    );
    assert!(line.starts_with(&expected), "{line}");
    rejection
}

#[tokio::test]
async fn b53_work_that_may_not_begin_is_refused_with_a_reason_and_audited() {
    let recorder = Recorder::new();
    let alice = context("alice");
    let observed = || builder().observer(recorder.clone());

    let forbids = observed()
        .authorize(|_, _| Err(ForbiddenError::new("not_at_night").into()))
        .factory(|_| panic!("the step comes first"));
    let rejection = refused::<_, _, _>(&recorder, forbids.build(), &alice).await;
    assert_eq!(rejection.status(), StatusCode::FORBIDDEN);
    assert!(
        matches!(rejection.kind(), RejectionKind::Forbidden { forbidden, .. }
        if forbidden.reason() == "not_at_night")
    );

    let down = observed()
        .authorize_async(|_, _| async {
            Err(AuthorizeError::from(UnavailableError::new(
                io::Error::other("down"),
            )))
        })
        .context_only();
    let rejection = refused(&recorder, down.build(), &alice).await;
    assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);

    let fails = observed().try_factory(|_| Err::<(), _>(io::Error::other("broken")));
    let rejection = refused(&recorder, fails.build(), &alice).await;
    assert_eq!(rejection.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let unreachable = observed().factory_async(|_| async {
        Err::<(), _>(FactoryUnavailableError::new(io::Error::other("down")))
    });
    let rejection = refused(&recorder, unreachable.build(), &alice).await;
    assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);

    let proved = observed().require_proved().context_only();
    let asserted = Identity::asserted(UserId::try_from("alice").expect("an id"));
    let asserted = UserContext::builder(asserted)
        .request_id(alice.request_id().clone())
        .build();
    let rejection = refused(&recorder, proved.build(), &asserted).await;
    assert!(matches!(rejection.kind(), RejectionKind::Evidence(_)));
}

#[tokio::test]
async fn b53_work_of_an_identity_that_has_ended_is_refused_by_the_layers_clock() {
    let recorder = Recorder::new();
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let layer = || {
        builder()
            .observer(recorder.clone())
            .clock(clock.clone())
            .context_only()
            .build()
    };
    let alice = Identity::proved(UserId::try_from("alice").expect("an id"))
        .with_expires_at(clock.now() + Duration::from_secs(60));
    let alice = UserContext::builder(alice)
        .request_id("r-alice".parse().expect("an id"))
        .build();
    let work = async |user: UserContext| Ok::<_, Infallible>(name(&user));
    let before = layer().expect("good").run("export", &alice, work).await;
    assert_eq!(before.expect("may"), Ok("alice".to_owned()));
    let _ = recorder.take();

    clock.advance(Duration::from_secs(60));
    let rejection = refused(&recorder, layer(), &alice).await;
    let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
        panic!("{rejection}")
    };
    assert_eq!(invalid.kind(), InvalidErrorKind::Expired);
}

#[tokio::test(start_paused = true)]
async fn b53_a_step_that_work_waits_for_has_its_time_limit() {
    let recorder = Recorder::new();
    let alice = context("alice");
    let observed = || {
        builder()
            .observer(recorder.clone())
            .time_limit(Duration::from_secs(3))
    };
    let waits = observed().authorize_async(|_, _| pending()).context_only();
    let rejection = refused(&recorder, waits.build(), &alice).await;
    let message =
        "the authorization of the request could not be checked: the answer did not come within 3s";
    assert_eq!(rejection.to_string(), message);

    let waits = observed().factory_async(|_| pending::<Result<(), io::Error>>());
    let rejection = refused(&recorder, waits.build(), &alice).await;
    let message = "the factory could not be built: it was not ready within 3s";
    assert_eq!(rejection.to_string(), message);
}

#[tokio::test]
async fn b53_the_authorize_step_sees_the_name_of_the_work_and_the_head_of_no_request() {
    let layer = builder()
        .authorize(|context, head| {
            let asked = (context.work(), head.method.as_str(), head.uri.path());
            match asked {
                (Some("export"), "WORK", "*") if head.headers.is_empty() => Ok(()),
                _ => Err(ForbiddenError::new("another_work").into()),
            }
        })
        .context_only()
        .build()
        .expect("good");
    let alice = context("alice");
    layer
        .run("export", &alice, async |_| {})
        .await
        .expect("may");
    let rejection = layer.run("delete", &alice, async |_| {}).await;
    assert_eq!(
        rejection.expect_err("may not").status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn b53_a_batch_for_many_users_carries_nothing_from_one_to_the_next() {
    let recorder = Recorder::new();
    let (layer, dropped) = desks(&recorder);
    let kept = Mutex::new(None::<Scoped<Desk>>);
    let users = ["alice", "bob", "alice", "carol"];
    let mut answers = Vec::new();
    for user in users {
        let work = async |desk: Scoped<Desk>| {
            assert_eq!(current(), user);
            let first = kept
                .lock()
                .expect("no panic")
                .get_or_insert(desk.clone())
                .clone();
            let firsts = Scoped::try_get(&first).map(|desk| desk.owner.clone());
            firsts.map(|first| (desk.owner.clone(), first))
        };
        let answer = layer
            .run("statement", &context(user), work)
            .await
            .expect("may");
        answers.push(answer.ok());
    }
    let alices = Some(("alice".to_owned(), "alice".to_owned()));
    assert_eq!(
        answers,
        [alices.clone(), None, alices, None],
        "bob and carol get nothing of alice's"
    );
    assert_eq!(taken(&dropped), ["bob", "alice", "carol"]);
    let events = recorder.take();
    let held = |event: &&AuditEvent<'_>| {
        matches!(event, AuditEvent::FactoryRetained { path: None, context, .. }
        if context.work() == Some("statement"))
    };
    assert_eq!(events.iter().filter(held).count(), 1, "{events:?}");
    let failed = |event: &&AuditEvent<'_>| {
        matches!(
            event,
            AuditEvent::ScopeClosed {
                ending: Ending::Failed,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(failed).count(), 2);
}

#[tokio::test]
async fn b53_work_of_two_users_that_is_interleaved_never_mixes() {
    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let steps = |user: &'static str| {
        layer.run("steps", &context(user), async move |desk: Scoped<Desk>| {
            for _ in 0..20 {
                assert_eq!((&*desk.owner, &*current()), (user, user));
                tokio::task::yield_now().await;
            }
        })
    };
    let users = ["alice", "bob", "carol"];
    let done = futures::future::join_all(users.map(steps)).await;
    assert!(done.into_iter().all(|done| done.is_ok()));
    assert_eq!(endings(&recorder), [(Ending::Completed, Some("steps")); 3]);
}

#[tokio::test]
async fn b53_work_within_the_scope_of_a_request_leaves_that_as_it_was() {
    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let outer = layer.run("outer", &context("alice"), async |alices: Scoped<Desk>| {
        let inner = layer.run("inner", &context("bob"), async |bobs: Scoped<Desk>| {
            assert!(Scoped::try_get(&alices).is_err(), "in bob's scope");
            Ok::<_, Infallible>(bobs.owner.clone())
        });
        let inner = inner.await.expect("may").expect("infallible");
        Ok::<_, Infallible>((inner, current(), alices.owner.clone()))
    });
    let seen = outer.await.expect("may").expect("infallible");
    assert_eq!(
        seen,
        ("bob".to_owned(), "alice".to_owned(), "alice".to_owned())
    );
}

#[tokio::test]
async fn b53_work_can_be_spawned_and_may_block_on_a_thread_of_its_own() {
    fn assert_send<T: Send + 'static>(work: T) -> T {
        work
    }

    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let work = async |desk: Scoped<Desk>| {
        let context = Scoped::context(&desk).clone();
        let blocking = move || context.enter(|| (desk.owner.clone(), current()));
        tokio::task::spawn_blocking(blocking).await
    };
    let running = assert_send(layer.run("render", &context("alice"), work));
    drop(layer);
    let seen = tokio::spawn(running).await.expect("no panic").expect("may");
    assert_eq!(
        seen.expect("no panic"),
        ("alice".to_owned(), "alice".to_owned())
    );
    assert_eq!(endings(&recorder), [(Ending::Completed, Some("render"))]);
}

#[test]
fn b53_work_needs_no_runtime() {
    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let worker = thread::spawn(move || {
        let work = async |desk: Scoped<Desk>| Ok::<_, Infallible>((desk.owner.clone(), current()));
        block_on(layer.run("cron", &context("alice"), work))
    });
    let seen = worker.join().expect("no panic").expect("may");
    assert_eq!(seen, Ok(("alice".to_owned(), "alice".to_owned())));
    assert_eq!(endings(&recorder), [(Ending::Completed, Some("cron"))]);
}

#[tokio::test]
async fn b53_work_that_is_dropped_while_its_factory_is_built_leaves_nothing() {
    struct Noting(Arc<Mutex<Vec<String>>>);
    impl Drop for Noting {
        fn drop(&mut self) {
            self.0.lock().expect("no panic").push(current());
        }
    }

    let recorder = Recorder::new();
    let dropped = Dropped::default();
    let shared = Arc::clone(&dropped);
    let layer = builder()
        .observer(recorder.clone())
        .factory_async(move |_| {
            let noting = Noting(Arc::clone(&shared));
            async move {
                pending::<()>().await;
                Ok::<_, io::Error>(noting)
            }
        })
        .build()
        .expect("good");
    {
        let mut running = pin!(layer.run("job", &context("alice"), async |_| {}));
        assert!(poll!(running.as_mut()).is_pending());
    }
    assert_eq!(taken(&dropped), ["alice"], "in its scope");
    assert!(recorder.take().is_empty());
}

#[tokio::test]
async fn b53_the_name_of_the_work_is_in_the_log() {
    crate::audit::capture();
    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let work = async |_| -> Result<(), Infallible> {
        tracing::info!("within");
        Ok(())
    };
    let done = layer.run("nightly_export", &context("alice"), work).await;
    done.expect("may").expect("infallible");
    let text = crate::audit::written();
    for line in ["request accepted", "within", "scope closed"] {
        let found = text.lines().find(|text| text.contains(line));
        let found = found.unwrap_or_else(|| panic!("{line}: {text}"));
        assert!(found.contains("nightly_export"), "{found}");
    }
}

#[tokio::test]
async fn b53_events_about_a_factory_that_work_kept_name_the_work() {
    let recorder = Recorder::new();
    let (layer, _) = desks(&recorder);
    let work = async |desk: Scoped<Desk>| Ok::<_, Infallible>(desk);
    let desk = layer.run("invoices", &context("alice"), work).await;
    let desk = desk.expect("may").expect("infallible");
    drop(recorder.take());
    assert!(Scoped::try_get(&desk).is_ok(), "outside every scope");
    context("alice").enter(|| assert!(Scoped::try_get(&desk).is_ok(), "after its own"));
    let lines = lines(&recorder);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(
            line.starts_with("request r-alice, work `invoices`: `"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn b53_the_layers_isolation_holds_in_the_scope_of_work() {
    let strict = builder().factory(name).build().expect("good");
    let report = builder()
        .isolation(Isolation::Report)
        .factory(name)
        .build()
        .expect("good");
    let work = async |alices: Scoped<String>| {
        let bobs = async |_| Ok::<_, Infallible>(Scoped::try_get(&alices).is_ok());
        let within_strict = strict.run("bobs", &context("bob"), bobs).await;
        let within_report = report.run("bobs", &context("bob"), bobs).await;
        Ok::<_, Infallible>([within_strict.expect("may"), within_report.expect("may")])
    };
    let seen = report.run("alices", &context("alice"), work).await;
    assert_eq!(seen.expect("may"), Ok([Ok(false), Ok(true)]));
}

#[cfg(feature = "limit")]
#[tokio::test]
async fn b53_work_takes_a_slot_of_its_user_until_its_scope_closes() {
    use tower_user_scope::limit::Limit;

    let recorder = Recorder::new();
    let layer = || {
        builder()
            .limit(Limit::concurrency("exports", 1))
            .observer(recorder.clone())
            .context_only()
            .build()
    };
    let limited = layer().expect("good");
    let work = async |_| {
        let second = refused(&recorder, Ok(limited.clone()), &context("alice")).await;
        assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
        let bobs = limited.run("export", &context("bob"), async |_| {});
        bobs.await
    };
    for _ in 0..2 {
        let first = async |user| {
            let _ = recorder.take();
            work(user).await
        };
        let done = limited.run("export", &context("alice"), first).await;
        assert!(
            done.expect("the slot was given back").is_ok(),
            "bob has his own"
        );
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn b53_work_can_wait_for_the_end_of_its_identity() {
    use tower_user_scope::scope::EndReason;

    let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let layer = builder()
        .clock(clock.clone())
        .end_scopes_at_expiry()
        .context_only()
        .build()
        .expect("good");
    let alice = Identity::proved(UserId::try_from("alice").expect("an id"))
        .with_expires_at(clock.now() + Duration::from_secs(60));
    let alice = UserContext::builder(alice).build();
    let work = async |user: UserContext| {
        let mut ended = pin!(user.ended());
        assert!(poll!(ended.as_mut()).is_pending());
        clock.advance(Duration::from_secs(60));
        Ok::<_, Infallible>(ended.await)
    };
    let reason = layer.run("long", &alice, work).await.expect("may");
    assert_eq!(reason, Ok(EndReason::Expired));
}
