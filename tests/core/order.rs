//! B20, B22: the order is the order of the list, for every length and every subset of
//! credentials, and strategies after a match are not called.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderName, HeaderValue, Request, Response, request::Parts};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserContext, UserId, UserScopeExt, UserScopeLayer,
    from_async_fn, from_fn,
    strategy::{BoxStrategy, Strategy},
};

/// One credential for each place in the list.
const HEADERS: [&str; 8] = ["x-0", "x-1", "x-2", "x-3", "x-4", "x-5", "x-6", "x-7"];
const USERS: [&str; 8] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"];

fn outcome(head: &Parts, place: usize) -> Outcome {
    if !head.headers.contains_key(HEADERS[place]) {
        return Outcome::Absent;
    }
    match UserId::try_from(USERS[place]) {
        Ok(id) => Identity::proved(id).into(),
        Err(error) => Outcome::Invalid(error.into()),
    }
}

/// The number of calls of the strategy at each place.
type Asked = Arc<[AtomicUsize; 8]>;

fn sync(place: usize, asked: &Asked) -> impl Strategy<Future: Send> + Send + Sync + use<> {
    let asked = asked.clone();
    from_fn(CredentialSource::header(HEADERS[place]), move |head| {
        asked[place].fetch_add(1, Ordering::SeqCst);
        outcome(head, place)
    })
    .named(USERS[place])
}

fn waiting(place: usize, asked: &Asked) -> impl Strategy<Future: Send> + Send + Sync + use<> {
    let asked = asked.clone();
    from_async_fn(CredentialSource::header(HEADERS[place]), move |head| {
        asked[place].fetch_add(1, Ordering::SeqCst);
        let outcome = outcome(head, place);
        async move {
            tokio::task::yield_now().await;
            outcome
        }
    })
    .named(USERS[place])
}

/// The form of the strategy at each place of a list.
#[derive(Clone, Copy, Debug)]
enum Mix {
    AllSync,
    AllWait,
    Alternating,
}

impl Mix {
    const ALL: [Self; 3] = [Self::AllSync, Self::AllWait, Self::Alternating];

    fn waits(self, place: usize) -> bool {
        match self {
            Self::AllSync => false,
            Self::AllWait => true,
            Self::Alternating => place % 2 == 1,
        }
    }

    fn boxed(self, place: usize, asked: &Asked) -> BoxStrategy {
        if self.waits(place) {
            waiting(place, asked).boxed()
        } else {
            sync(place, asked).boxed()
        }
    }
}

async fn answer(request: Request<()>) -> Result<Response<()>, Infallible> {
    let mut response = Response::new(());
    if let Ok(context) = request.user_context() {
        response.extensions_mut().insert(context.clone());
    }
    Ok(response)
}

fn request(credentials: usize) -> Request<()> {
    let mut request = Request::new(());
    for (place, name) in HEADERS.iter().enumerate() {
        if credentials & (1 << place) != 0 {
            let value = HeaderValue::from_static("sent");
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// Sends every subset of credentials to a list of `len` strategies.
async fn check<S, B>(mut service: S, len: usize, asked: &Asked, what: &str)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    for credentials in 0..1_usize << len {
        for count in asked.iter() {
            count.store(0, Ordering::SeqCst);
        }
        let ready = service.ready().await.expect("infallible");
        let response = ready.call(request(credentials)).await.expect("infallible");
        let found = response.extensions().get::<UserContext>();
        let found = found.map(|context| {
            let user = context.user_id().map_or("nobody", UserId::as_str);
            (user.to_owned(), context.strategy())
        });
        let expected = (0..len).find(|place| credentials & (1 << place) != 0);
        let at = format!("{what}, {len} strategies, credentials {credentials:08b}");
        assert_eq!(
            found,
            expected.map(|place| (USERS[place].to_owned(), USERS[place])),
            "the first in the list decides: {at}"
        );
        let asked: Vec<usize> = asked
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect();
        let last = expected.map_or(len, |place| place + 1);
        let once: Vec<usize> = (0..8).map(|place| usize::from(place < last)).collect();
        assert_eq!(
            asked, once,
            "each up to the match once, none after it: {at}"
        );
    }
}

/// A static list of the given places, each in the form of the mix.
macro_rules! static_list {
    ($asked:expr, $form:ident: $($place:tt)*) => {
        UserScopeLayer::builder()
            $(.strategy($form!($place, $asked)))*
            .context_only()
            .build()
            .expect("a valid configuration")
    };
}
macro_rules! all_sync {
    ($place:tt, $asked:expr) => {
        sync($place, $asked)
    };
}
macro_rules! all_wait {
    ($place:tt, $asked:expr) => {
        waiting($place, $asked)
    };
}
macro_rules! alternating {
    (0, $asked:expr) => {
        sync(0, $asked)
    };
    (2, $asked:expr) => {
        sync(2, $asked)
    };
    (4, $asked:expr) => {
        sync(4, $asked)
    };
    (6, $asked:expr) => {
        sync(6, $asked)
    };
    ($place:tt, $asked:expr) => {
        waiting($place, $asked)
    };
}

#[tokio::test]
async fn b20_a_static_list_of_any_length_is_asked_in_its_order() {
    let asked = Asked::default();
    macro_rules! lengths {
        ($form:ident) => {
            lengths!(@ $form: [0] [0 1] [0 1 2] [0 1 2 3] [0 1 2 3 4] [0 1 2 3 4 5]
                [0 1 2 3 4 5 6] [0 1 2 3 4 5 6 7])
        };
        (@ $form:ident: $([$($place:tt)*])*) => {$(
            let layer = static_list!(&asked, $form: $($place)*);
            let len = [$($place),*].len();
            check(layer.layer(service_fn(answer)), len, &asked, stringify!($form)).await;
        )*};
    }
    lengths!(all_sync);
    lengths!(all_wait);
    lengths!(alternating);
}

#[tokio::test]
async fn b20_a_list_from_configuration_is_asked_in_its_order() {
    let asked = Asked::default();
    for mix in Mix::ALL {
        for len in 1..=8 {
            let list = (0..len).map(|place| mix.boxed(place, &asked));
            let layer = UserScopeLayer::builder()
                .strategies(list)
                .context_only()
                .build()
                .expect("a valid configuration");
            let service = layer.layer(service_fn(answer));
            check(service, len, &asked, &format!("a Vec, {mix:?}")).await;
        }
    }
}

#[tokio::test]
async fn b20_static_and_configured_parts_of_one_list_keep_their_order() {
    let asked = Asked::default();
    for mix in Mix::ALL {
        let layer = UserScopeLayer::builder()
            .strategy(sync(0, &asked))
            .strategies((1..3).map(|place| mix.boxed(place, &asked)))
            .strategies([])
            .strategy(waiting(3, &asked))
            .strategies([mix.boxed(4, &asked)])
            .context_only()
            .build()
            .expect("a valid configuration");
        let service = layer.layer(service_fn(answer));
        check(service, 5, &asked, &format!("mixed, {mix:?}")).await;
    }
}
