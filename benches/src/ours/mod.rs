//! The crate itself: each strategy alone, and the list of six.

use std::convert::Infallible;

use http::{HeaderName, Request, Response};
use tower::Service;
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, FromExtension, Identity, Outcome, TrustedHeader,
    UserContext, UserId, UserScopeLayer, from_fn,
    middleware::ResponseBody,
    strategy::{Strategy, Trusting},
};

use crate::{case::Case, inner::Inner, requests};

pub mod credentials;
pub mod growth;
pub mod scopes;
pub mod session;
pub mod telemetry;
pub mod token;

/// What the application builds for each request.
pub struct Factory {
    /// Whose it is.
    pub user: UserContext,
    /// Something to read.
    pub value: u64,
}

/// A factory of this user.
#[must_use]
pub fn make(user: &UserContext) -> Factory {
    Factory {
        user: user.clone(),
        value: 1,
    }
}

/// What an auth middleware left behind.
#[derive(Clone)]
struct Authenticated {
    id: String,
}

fn header() -> TrustedHeader<Trusting> {
    TrustedHeader::new(requests::USER)
        .from_proxies(["10.0.0.0/8"])
        .expect("a network")
}

fn extension() -> impl Strategy {
    FromExtension::<Authenticated>::new(|user| user.id.parse())
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One more strategy, of the application's own.
fn api_key() -> impl Strategy {
    from_fn(CredentialSource::only_header(API_KEY), |head| {
        match head.headers.get(&API_KEY) {
            None => Outcome::Absent,
            Some(_) => "key".parse::<UserId>().map_or_else(
                |error| Outcome::Invalid(error.into()),
                |id| Identity::proved(id).into(),
            ),
        }
    })
}

/// Acts for one path only, so that a case whose own strategy fails is a 401 and not a fallback.
fn fallback() -> Fallback {
    Fallback::service("internal").only_if(|head| head.uri.path() == "/internal")
}

/// A layer of these strategies, in this order.
macro_rules! layer {
    ($($strategy:expr),* $(; $fallback:expr)?) => {
        UserScopeLayer::builder()
            $(.strategy($strategy))*
            $(.fallback($fallback))?
            .factory(make)
            .build()
            .expect("a valid layer")
            .layer(Inner::<()>::new())
    };
}

/// The six that every release has, in the order of the documentation.
fn six() -> impl Service<Request<()>, Response = Response<ResponseBody<()>>, Error = Infallible> {
    layer!(
        header(),
        extension(),
        ExistingContext::new(),
        session::strategy(),
        token::strategy();
        fallback()
    )
}

fn with_extension() -> Request<()> {
    let mut request = requests::bare();
    let id = "alice".to_owned();
    request.extensions_mut().insert(Authenticated { id });
    request
}

fn with_context() -> Request<()> {
    let mut request = requests::bare();
    let alice = "alice".parse::<UserId>().expect("an id");
    let context = UserContext::builder(Identity::asserted(alice)).build();
    request.extensions_mut().insert(context);
    request
}

fn with_nothing() -> Request<()> {
    let mut request = requests::bare();
    *request.uri_mut() = "/internal".parse().expect("a path");
    request
}

/// One strategy alone.
///
/// # Panics
/// Where there is none of this name.
#[must_use]
pub fn alone(which: &str) -> Case {
    use requests::same;
    match which {
        "header" => Case::new(layer!(header()), same(requests::with_user())),
        "extension" => Case::new(layer!(extension()), same(with_extension())),
        "existing" => Case::new(layer!(ExistingContext::new()), same(with_context())),
        "session" => Case::new(layer!(session::strategy()), same(session::request())),
        "token" => Case::new(layer!(token::strategy()), same(token::request())),
        "fallback" => Case::new(layer!(header(); fallback()), same(with_nothing())),
        _ => panic!("no strategy {which}"),
    }
}

/// The six, where this one has the credential.
///
/// # Panics
/// Where there is none of this name.
#[must_use]
pub fn of_six(which: &str) -> Case {
    let request = match which {
        "header" => requests::with_user(),
        "extension" => with_extension(),
        "existing" => with_context(),
        "session" => session::request(),
        "token" => token::request(),
        "fallback" => with_nothing(),
        _ => panic!("no strategy {which}"),
    };
    Case::new(six(), requests::same(request))
}

/// The header, after so many strategies that have nothing to say.
///
/// # Panics
/// Where there are not so many.
#[must_use]
pub fn header_after(absent: usize) -> Case {
    let next = requests::same(requests::with_user());
    let existing = ExistingContext::new;
    match absent {
        0 => alone("header"),
        1 => Case::new(layer!(extension(), header()), next),
        2 => Case::new(layer!(extension(), existing(), header()), next),
        3 => Case::new(
            layer!(extension(), existing(), session::strategy(), header()),
            next,
        ),
        4 => Case::new(
            layer!(
                extension(),
                existing(),
                session::strategy(),
                token::strategy(),
                header()
            ),
            next,
        ),
        5 => Case::new(
            layer!(
                extension(),
                existing(),
                session::strategy(),
                token::strategy(),
                api_key(),
                header()
            ),
            next,
        ),
        _ => panic!("no list with {absent} before the header"),
    }
}

/// The header, after one strategy of this kind that has nothing to say.
///
/// # Panics
/// Where there is none of this name.
#[must_use]
pub fn header_after_one(which: &str) -> Case {
    let next = requests::same(requests::with_user());
    match which {
        "extension" => Case::new(layer!(extension(), header()), next),
        "existing" => Case::new(layer!(ExistingContext::new(), header()), next),
        "session" => Case::new(layer!(session::strategy(), header()), next),
        "token" => Case::new(layer!(token::strategy(), header()), next),
        "api_key" => Case::new(layer!(api_key(), header()), next),
        _ => panic!("no strategy {which}"),
    }
}

/// The header, for so many users in turn.
#[must_use]
pub fn of_users(users: u32) -> Case {
    Case::new(layer!(header()), requests::of_users(users))
}
