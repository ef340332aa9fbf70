//! The check that plays scenarios.

use std::{
    cell::RefCell,
    error::Error,
    future::Future,
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{client::Client, play::Script, player::Player, rules::Rules, run::Runner};
use crate::testing::{
    Finding, IsolationReport, Recorder, TestBody, TestUser,
    isolation::{CheckOptions, Depths, Erased, Observed, SendRequest, Users, check_options},
};

/// Plays a scenario as several users, and compares what each sees alone with what the same user sees
/// among others.
///
/// What is different is a leak, in whatever form: a count, a status, an order, a limit that users
/// share, a value that was hashed. It is reported with the fewest requests of others that make the
/// difference: "what alice sees depends on others: `GET /items` (200), response 3, at `$.total` is
/// "1" alone and "2" among others, because bob sent `POST /items`".
///
/// A scenario is what one user does, written once and played by each user:
///
/// 1. by each user alone, twice; what differs then is noise and not compared, such as a random id;
/// 2. by all users, one after the other, the other way around, step by step in turn, and interleaved,
///    also with requests of others that are cancelled;
/// 3. where a difference is seen, by fewer users with fewer requests, until nothing can be left out,
///    and with other [secrets](Client::secret): whether the difference changes with them tells a leak
///    of content from an effect of load.
///
/// Each time the service is built anew. In all responses, ids and secrets of others are looked for
/// as [`IsolationCheck`](crate::testing::IsolationCheck) does.
///
/// ```
/// use std::sync::{Arc, Mutex, PoisonError};
///
/// use axum::{Router, extract::State, routing::post};
/// use tower_user_scope::{
///     ExistingContext, UserScopeLayer,
///     testing::{AsUser, Client, Finding, ScenarioCheck},
/// };
///
/// /// The notes of all users.
/// type Notes = Arc<Mutex<Vec<String>>>;
///
/// async fn add(State(notes): State<Notes>, text: String) {
///     notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
/// }
///
/// /// Counts those of everybody: the bug.
/// async fn count(State(notes): State<Notes>) -> String {
///     format!("{} notes", notes.lock().unwrap_or_else(PoisonError::into_inner).len())
/// }
///
/// fn app() -> Router {
///     let users = UserScopeLayer::builder()
///         .strategy(ExistingContext::new())
///         .context_only()
///         .build()
///         .expect("a valid configuration");
///     let notes = post(add).get(count);
///     Router::new().route("/notes", notes).layer(users).with_state(Notes::default())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let report = ScenarioCheck::new()
///     .authenticate(|user, request| request.as_user(user.id()))
///     .run(async || app(), async |client: Client| {
///         client.post("/notes", client.secret("note")).await;
///         client.get("/notes").await;
///     })
///     .await;
/// let finds = |finding: &Finding| matches!(finding, Finding::Interference { .. });
/// assert!(report.findings().iter().any(finds), "{report}");
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ScenarioCheck {
    options: CheckOptions,
    interleaved: usize,
    rules: Rules,
}

impl ScenarioCheck {
    /// Creates a check of three users, with three interleaved rounds.
    pub fn new() -> Self {
        Self {
            options: CheckOptions::of_users(3),
            interleaved: 3,
            rules: Rules::default(),
        }
    }

    check_options!();

    /// Sets how a request becomes one of a user: `request.as_user(user.id())`, or a header that a
    /// trusted proxy would set.
    ///
    /// A scenario that logs in itself does not need it: the client keeps cookies, and
    /// [`Client::set_header`] a token.
    pub fn authenticate(
        mut self,
        authenticate: impl Fn(&TestUser, Request<Bytes>) -> Request<Bytes> + 'static,
    ) -> Self {
        self.rules.authenticate = Some(Box::new(authenticate));
        self
    }

    /// Lets each user ask for what others have [created](Client::created), in the first round. The
    /// answer must be the one for a thing that does not exist, by status, headers and body:
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::Request;
    /// # use tower_user_scope::testing::ScenarioCheck;
    /// let check = ScenarioCheck::new().foreign("note", |id| {
    ///     Request::get(format!("/notes/{id}")).body(Bytes::new()).expect("a path")
    /// });
    /// # let _ = check;
    /// ```
    pub fn foreign(
        mut self,
        kind: impl Into<String>,
        ask: impl Fn(&str) -> Request<Bytes> + 'static,
    ) -> Self {
        self.rules.foreign.push((kind.into(), Box::new(ask)));
        self
    }

    /// Allows a place in all responses to depend on others: a path into JSON such as
    /// `$.items[*].id`, the name of a header or a trailer, or a place as reports name it.
    pub fn may_differ(mut self, place: impl Into<String>) -> Self {
        self.rules.may_differ.push(place.into());
        self
    }

    /// Declares a path that users share, such as a feed or a chat: its responses may depend on
    /// others and show their ids. Secrets are looked for in them all the same.
    pub fn shared_path(mut self, path: impl Into<String>) -> Self {
        self.rules.shared.add(path);
        self
    }

    /// Sets the number of interleaved rounds: three unless this is called. More find more of what
    /// depends on who is polled or cancelled when.
    pub fn interleaved_rounds(mut self, rounds: usize) -> Self {
        self.interleaved = rounds;
        self
    }

    /// Also checks the layer's audit events. The layer of each service needs a clone of the recorder
    /// as its observer.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.options.recorder = Some(recorder.clone());
        self
    }

    /// Plays the scenario, and returns what was found.
    ///
    /// `service` builds the service, with stores that are as empty as those of the last one. A
    /// scenario that panics ends its user's script, and is a finding where the user is alone.
    pub async fn run<S, R>(
        self,
        service: impl AsyncFn() -> S,
        scenario: impl AsyncFn(Client),
    ) -> IsolationReport
    where
        S: Service<
                Request<TestBody>,
                Response = Response<R>,
                Error: Into<Box<dyn Error + Send + Sync>>,
            > + Clone
            + 'static,
        R: Body + 'static,
    {
        let options = self.options;
        let (seed, reading) = (options.seed(), options.reading);
        // How far exchanges go is known from the runs of each user alone.
        let depths = Rc::<RefCell<Depths>>::default();
        let service = || -> Pin<Box<dyn Future<Output = Box<dyn SendRequest>> + '_>> {
            Box::pin(async {
                let service = Erased::new(service().await, reading, Rc::clone(&depths));
                let service: Box<dyn SendRequest> = Box::new(service);
                service
            })
        };
        let scenario = |client: Client| -> Script<'_> { Box::pin(scenario(client)) };
        let player = Player {
            users: options.users(),
            rules: Rc::new(self.rules),
            seed,
            deadline: Instant::now() + options.time_limit,
            service: &service,
            scenario: &scenario,
        };
        let mut runner = Runner {
            player,
            interleaved: self.interleaved,
            recorder: options.recorder,
            looks_at_logs: options.looks_at_logs,
            observed: Observed::new(options.ids_are_public, options.decoders),
            report: IsolationReport::new(seed),
        };
        runner.run().await;
        let Runner {
            mut report,
            observed,
            ..
        } = runner;
        if report.findings.is_empty() {
            let nothing = observed.no_success(report.succeeded);
            report
                .findings
                .extend(nothing.map(|reason| Finding::ShowsNothing { reason }));
        }
        report.sort();
        report
    }
}

impl Default for ScenarioCheck {
    fn default() -> Self {
        Self::new()
    }
}
