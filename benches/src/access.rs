//! What an access to the factory costs: with the check of whose scope it is, and without.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;
use tower_layer::Layer;
use tower_user_scope::{Scoped, TrustedHeader, UserScopeLayer};

use crate::{
    case::{Case, respond},
    ours::{Factory, make},
    requests,
};

/// So many that the request around them doesn't count.
const ACCESSES: u32 = 100_000;

/// Through the handle, within a scope.
#[must_use]
pub fn checked() -> Case {
    within(|scoped| {
        for _ in 0..ACCESSES {
            black_box(black_box(scoped).value);
        }
    })
}

/// Through a plain `Arc`, in the very same place.
#[must_use]
pub fn plain() -> Case {
    within(|scoped| {
        let factory = Arc::new(make(Scoped::context(scoped)));
        for _ in 0..ACCESSES {
            black_box(black_box(&factory).value);
        }
    })
}

fn within(work: fn(&Scoped<Factory>)) -> Case {
    let done = Rc::new(Cell::new(0));
    let mut service = UserScopeLayer::builder()
        .strategy(TrustedHeader::new(requests::USER).only_if(|_| true))
        .factory(make)
        .build()
        .expect("a valid layer")
        .layer(Works {
            work,
            done: Rc::clone(&done),
        });
    let template = requests::with_user();
    let run = move |times| {
        let before = done.get();
        for _ in 0..times {
            drop(respond(&mut service, template.clone()));
        }
        assert_eq!(done.get() - before, times, "the factory was not there");
    };
    Case::of(run).each(f64::from(ACCESSES))
}

/// An inner service that does something with its factory.
#[derive(Clone)]
struct Works {
    work: fn(&Scoped<Factory>),
    done: Rc<Cell<u32>>,
}

impl Service<Request<()>> for Works {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        if let Some(scoped) = request.extensions().get::<Scoped<Factory>>() {
            (self.work)(scoped);
            self.done.set(self.done.get() + 1);
        }
        ready(Ok(Response::new(())))
    }
}
