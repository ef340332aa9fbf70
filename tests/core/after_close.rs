//! B51: a factory that is used after its own scope closed is reported, and refused where the layer
//! asks for that. `keep` excuses the handle that it returned and no other.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Scoped, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    middleware::{Empty, LayerBuilder, Then},
    scope::{Isolation, IsolationError},
    testing::{AsUser, Recorder},
};

struct Agents;

type Builder = LayerBuilder<Then<Empty, ExistingContext>>;

fn settings(change: impl FnOnce(Builder) -> Builder) -> Builder {
    change(UserScopeLayer::builder().strategy(ExistingContext::new()))
}

/// Returns what `take` makes of a handler's factory, after its scope has closed.
async fn escaped<T: Send + 'static>(
    builder: Builder,
    status: StatusCode,
    take: impl Fn(&Scoped<Agents>) -> T + Clone + Send + Sync + 'static,
) -> T {
    let layer = builder
        .factory(|_| Agents)
        .build()
        .expect("a valid configuration");
    let out = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&out);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let taken = take(request.scoped::<Agents>().expect("inside the layer"));
        *seen.lock().expect("no panic in here") = Some(taken);
        let mut response = Response::new(());
        *response.status_mut() = status;
        async { Ok::<_, Infallible>(response) }
    }));
    let response = service.oneshot(Request::new(()).as_user("alice")).await;
    drop(response.expect("infallible"));
    let taken = out.lock().expect("no panic in here").take();
    taken.expect("the handler ran")
}

/// Returns for each report whether the use was refused.
fn reports(recorder: &Recorder) -> Vec<bool> {
    let events = recorder.take().into_iter();
    events
        .filter_map(|event| match event {
            AuditEvent::FactoryUsedAfterClose { refused, .. } => Some(refused),
            _ => None,
        })
        .collect()
}

/// Uses a factory in the scope of its own user.
fn use_in_scope(handle: &Scoped<Agents>) -> bool {
    let used = Scoped::context(handle).enter(|| Scoped::try_get(handle).map(|_| ()));
    match used {
        Ok(()) => true,
        Err(IsolationError::ScopeClosed { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn b51_what_is_not_kept_is_reported_once_and_on_request_refused_each_time() {
    type Take = fn(&Scoped<Agents>) -> Scoped<Agents>;
    type Change = fn(Builder) -> Builder;

    let takes: [(&str, Take, bool); 5] = [
        ("a clone", |own| own.clone(), false),
        ("a kept handle", |own| Scoped::keep(own), true),
        (
            "a clone of a kept one",
            |own| Scoped::keep(own).clone(),
            false,
        ),
        (
            "a kept clone of a kept one",
            |own| Scoped::keep(&Scoped::keep(own).clone()),
            true,
        ),
        (
            "a clone beside a kept one",
            |own| {
                drop(Scoped::keep(own));
                own.clone()
            },
            false,
        ),
    ];
    let layers: [(&str, Change, bool, &[bool]); 4] = [
        ("by default", |builder| builder, true, &[false]),
        (
            "refused on request",
            LayerBuilder::require_open_scope,
            false,
            &[true, true],
        ),
        (
            "all is reported only",
            |builder| builder.require_open_scope().isolation(Isolation::Report),
            true,
            &[false],
        ),
        (
            "nothing is checked",
            |builder| builder.require_open_scope().isolation(Isolation::Off),
            true,
            &[],
        ),
    ];
    for (setting, change, allowed, reported) in layers {
        for (what, take, is_kept) in takes {
            let recorder = Recorder::new();
            let builder = settings(change).observer(recorder.clone());
            let handle = escaped(builder, StatusCode::OK, take).await;
            assert!(
                reports(&recorder).is_empty(),
                "nothing was used: {what}, {setting}"
            );
            let used = [use_in_scope(&handle), use_in_scope(&handle)];
            let expected = allowed || is_kept;
            assert_eq!(used, [expected, expected], "{what}, {setting}");
            let expected = if is_kept { &[] } else { reported };
            assert_eq!(reports(&recorder), expected, "{what}, {setting}");
        }
    }
}

#[tokio::test]
async fn b51_while_its_scope_is_open_every_handle_may_be_used() {
    let recorder = Recorder::new();
    let builder = settings(|builder| builder.require_scope().require_open_scope());
    let uses = |own: &Scoped<Agents>| {
        let others = [own.clone(), Scoped::keep(own), Scoped::keep(own).clone()];
        others.iter().all(|handle| Scoped::try_get(handle).is_ok())
    };
    assert!(escaped(builder.observer(recorder.clone()), StatusCode::OK, uses).await);
    assert!(reports(&recorder).is_empty());
}

#[tokio::test]
async fn b51_the_scope_of_an_upgraded_connection_goes_on() {
    let recorder = Recorder::new();
    let builder = settings(|builder| builder.require_open_scope().observer(recorder.clone()));
    let socket = escaped(builder, StatusCode::SWITCHING_PROTOCOLS, Scoped::clone).await;
    assert!(
        use_in_scope(&socket),
        "the response is gone, the socket is not"
    );
    assert!(use_in_scope(&socket.clone()));
    assert!(reports(&recorder).is_empty());
}

#[tokio::test]
async fn b51_a_hook_uses_the_factory_of_the_scope_that_closes() {
    let recorder = Recorder::new();
    let (sender, mut used) = tokio::sync::mpsc::unbounded_channel();
    let later = sender.clone();
    let builder = settings(|builder| builder.require_open_scope().observer(recorder.clone()))
        .on_close(move |closed| {
            let factory = closed.scoped::<Agents>().expect("of this type");
            sender
                .send(Scoped::try_get(&factory).is_ok())
                .expect("it listens");
        })
        .on_close_async(move |closed| {
            let later = later.clone();
            async move {
                let factory = closed.scoped::<Agents>().expect("of this type");
                later
                    .send(Scoped::try_get(&factory).is_ok())
                    .expect("it listens");
            }
        });
    // A handle is left, so that the scope is marked as closed.
    let left = escaped(builder, StatusCode::OK, Scoped::clone).await;
    assert_eq!(used.recv().await, Some(true), "the hook");
    assert_eq!(used.recv().await, Some(true), "the hook that is a future");
    assert!(reports(&recorder).is_empty());
    assert!(!use_in_scope(&left), "and nobody else");
}

#[tokio::test]
async fn b51_b52_the_stricter_of_two_layers_refuses() {
    let lax = escaped(settings(|builder| builder), StatusCode::OK, Scoped::clone).await;
    let strict = settings(LayerBuilder::require_open_scope);
    let strict = escaped(strict, StatusCode::OK, Scoped::keep).await;
    let used = Scoped::context(&strict).enter(|| Scoped::try_get(&lax).is_ok());
    assert!(!used, "refused in the scope of the other layer");
}

#[tokio::test]
async fn b51_a_refusal_is_a_panic_that_names_the_cure_and_no_user() {
    let builder = settings(LayerBuilder::require_open_scope);
    let handle = escaped(builder, StatusCode::OK, Scoped::clone).await;
    let used = Scoped::context(&handle).enter(|| {
        let dereferenced = AssertUnwindSafe(|| {
            let _: &Agents = &handle;
        });
        catch_unwind(dereferenced)
    });
    let panic = used.expect_err("a dereference is refused");
    let message = panic.downcast_ref::<String>().expect("with a message");
    assert!(
        message.contains("Agents") && message.contains("Scoped::keep"),
        "{message}"
    );
    assert!(!message.contains("alice"), "{message}");
}

#[tokio::test]
async fn b51_the_line_in_the_log_names_the_type_the_place_and_the_cure() {
    for (refuses, level) in [(false, "WARN"), (true, "ERROR")] {
        let builder = settings(|builder| {
            if refuses {
                builder.require_open_scope()
            } else {
                builder
            }
        });
        let handle = escaped(builder, StatusCode::OK, Scoped::clone).await;
        crate::audit::capture();
        use_in_scope(&handle);
        let written = crate::audit::written();
        let line = written
            .lines()
            .find(|line| line.contains("after its scope"));
        let line = line.unwrap_or_else(|| panic!("a line: {written}"));
        for words in [level, "Agents", file!(), "Scoped::keep"] {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(!line.contains("alice"), "{line}");
    }
}
