//! B50: a factory that is used outside every scope is reported once for each place in the program,
//! and refused where the layer requires a scope.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    thread,
};

use http::{Request, Response};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Scoped, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    middleware::{Empty, LayerBuilder, Then},
    scope::{Isolation, IsolationError},
    testing::{AsUser, Recorder},
};

struct Agents {
    count: usize,
}

type Builder = LayerBuilder<Then<Empty, ExistingContext>>;

/// Returns a handle that a handler kept on purpose, and the events of its layer.
async fn kept(change: impl FnOnce(Builder) -> Builder) -> (Scoped<Agents>, Recorder) {
    let recorder = Recorder::new();
    let builder = change(UserScopeLayer::builder().strategy(ExistingContext::new()));
    let handle = kept_of(builder.observer(recorder.clone())).await;
    drop(recorder.take());
    (handle, recorder)
}

async fn kept_of(builder: Builder) -> Scoped<Agents> {
    let layer = builder.factory(|_| Agents { count: 3 }).build();
    let layer = layer.expect("a valid configuration");
    let out = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&out);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let own = request.scoped::<Agents>().expect("inside the layer");
        *seen.lock().expect("no panic in here") = Some(Scoped::keep(own));
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    let response = service.oneshot(Request::new(()).as_user("alice")).await;
    drop(response.expect("infallible"));
    let handle = out.lock().expect("no panic in here").take();
    handle.expect("the handler ran")
}

/// Returns the lines of this file that were reported.
fn places(recorder: &Recorder) -> Vec<u32> {
    let events = recorder.take().into_iter();
    events
        .filter_map(|event| match event {
            AuditEvent::FactoryUsedOutsideScope { factory, place, .. } => {
                assert_eq!(factory, std::any::type_name::<Agents>());
                assert_eq!(place.file(), file!());
                Some(place.line())
            }
            AuditEvent::FactoryUsedAfterClose { .. } | AuditEvent::CrossUserAccess { .. } => {
                panic!("{event}")
            }
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn b50_each_place_is_reported_once() {
    let (handle, recorder) = kept(|builder| builder).await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        assert!(Scoped::try_get(&handle).is_ok());
        lines.push(line!() - 1);
        assert_eq!(handle.count, 3);
        lines.push(line!() - 1);
    }
    assert_eq!(
        places(&recorder),
        lines[..2],
        "by `try_get`, and by a dereference"
    );
    let worker = thread::spawn(move || handle.count);
    assert_eq!(worker.join().expect("no panic"), 3);
    assert_eq!(places(&recorder).len(), 1, "on any thread");
}

#[tokio::test]
async fn b50_only_the_use_outside_every_scope_of_what_a_layer_built_is_reported() {
    let (handle, recorder) = kept(|builder| builder).await;
    let in_scope = Scoped::context(&handle).enter(|| handle.count);
    assert_eq!((in_scope, places(&recorder)), (3, vec![]), "in scope");

    let (handle, recorder) = kept(|builder| builder.isolation(Isolation::Off)).await;
    assert_eq!(
        (handle.count, places(&recorder)),
        (3, vec![]),
        "checks nothing"
    );

    crate::audit::capture();
    let request = Request::new(()).as_user_with("alice", Agents { count: 3 });
    let handle = request.scoped::<Agents>().expect("inserted");
    assert_eq!(handle.count, 3);
    assert_eq!(crate::audit::written(), "", "no layer opened a scope");
}

#[tokio::test]
async fn b50_with_require_scope_the_use_is_refused_each_time() {
    let (handle, recorder) = kept(LayerBuilder::require_scope).await;
    for _ in 0..2 {
        let refused = Scoped::try_get(&handle).err();
        assert!(
            matches!(refused, Some(IsolationError::NoScope { .. })),
            "{refused:?}"
        );
        let events = recorder.take();
        assert!(
            matches!(*events, [AuditEvent::CrossUserAccess { .. }]),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn b50_what_is_not_kept_is_reported_for_both_reasons() {
    let (handle, recorder) = kept(|builder| builder).await;
    assert_eq!(handle.clone().count, 3);
    let events = recorder.take();
    assert!(
        matches!(
            *events,
            [
                AuditEvent::FactoryUsedOutsideScope { .. },
                AuditEvent::FactoryUsedAfterClose { refused: false, .. }
            ]
        ),
        "{events:?}"
    );
}

#[tokio::test]
async fn b50_the_line_in_the_log_names_the_type_the_place_and_the_cure() {
    let handle = kept_of(UserScopeLayer::builder().strategy(ExistingContext::new())).await;
    crate::audit::capture();
    for _ in 0..2 {
        assert_eq!(handle.count, 3);
    }
    let written = crate::audit::written();
    let lines = written
        .lines()
        .filter(|line| line.contains("outside every scope"));
    let lines: Vec<&str> = lines.collect();
    let [line] = *lines else {
        panic!("one line, of a layer without an observer too: {written}");
    };
    for words in [
        "WARN",
        "Agents",
        file!(),
        "in_current_scope",
        "UserContext::enter",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(!line.contains("alice"), "{line}");
}

/// Uses a factory at the place at which the macro is called.
macro_rules! at {
    () => {
        |agents: &Scoped<Agents>| assert_eq!(agents.count, 3)
    };
}

#[tokio::test]
async fn b50_the_number_of_places_is_bounded_and_the_bound_is_said() {
    const BOUND: usize = 64;
    #[rustfmt::skip]
    let uses: [fn(&Scoped<Agents>); BOUND + 4] = [
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
        at!(), at!(), at!(), at!(), at!(), at!(), at!(), at!(),
    ];
    let (handle, recorder) = kept(|builder| builder).await;
    crate::audit::capture();
    for _ in 0..2 {
        for used_here in uses {
            used_here(&handle);
        }
    }
    assert_eq!(places(&recorder).len(), BOUND);
    let written = crate::audit::written();
    let lines = written
        .lines()
        .filter(|line| line.contains("more places than are reported"));
    assert_eq!(lines.count(), 1, "{written}");
}
