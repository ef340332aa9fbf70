//! B80: Leaks that depend on who is polled or cancelled when are found with most seeds; the table says
//! with how many of 20.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, routing::post};
use tower_user_scope::{
    ExistingContext, UserId, UserScopeLayer,
    testing::{AsUser, Client, Finding, ScenarioCheck},
};

use super::support::{lock, waits};

#[derive(Default)]
struct Shared {
    current: Mutex<String>,
    asked: Mutex<HashMap<&'static str, String>>,
    pool: Mutex<Vec<String>>,
}

type Answering = Pin<Box<dyn Future<Output = String> + Send>>;
type Handle = fn(Arc<Shared>, String) -> Answering;

/// A buffer that goes back to its pool when it is dropped, as pools of connections do.
struct Pooled {
    text: String,
    shared: Arc<Shared>,
}

impl Pooled {
    fn take(shared: Arc<Shared>) -> Self {
        let text = lock(&shared.pool).pop().unwrap_or_default();
        Self { text, shared }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        lock(&self.shared.pool).push(std::mem::take(&mut self.text));
    }
}

/// The leak, with how many of 20 seeds it is found, and the service.
const RACES: [(&str, usize, Handle); 5] = [
    ("a current user over one await", 20, |shared, user| {
        Box::pin(async move {
            lock(&shared.current).clone_from(&user);
            waits(1).await;
            lock(&shared.current).clone()
        })
    }),
    ("one answer for all who ask at once", 20, |shared, user| {
        Box::pin(async move {
            lock(&shared.asked).entry("/").or_insert(user);
            waits(3).await;
            let answer = lock(&shared.asked).get("/").cloned().unwrap_or_default();
            waits(1).await;
            lock(&shared.asked).remove("/");
            answer
        })
    }),
    (
        "a buffer that a cancelled request does not clear",
        20,
        |shared, user| {
            Box::pin(async move {
                let mut buffer = Pooled::take(shared);
                buffer.text += &user;
                waits(20).await;
                let answer = buffer.text.clone();
                buffer.text.clear();
                answer
            })
        },
    ),
    (
        "a buffer that is dirty after 20 awaits only",
        16,
        |shared, user| {
            Box::pin(async move {
                let mut buffer = Pooled::take(shared);
                waits(20).await;
                buffer.text += &user;
                waits(5).await;
                let answer = buffer.text.clone();
                buffer.text.clear();
                answer
            })
        },
    ),
    (
        "a buffer that is dirty for one await of 20",
        7,
        |shared, user| {
            Box::pin(async move {
                let mut buffer = Pooled::take(shared);
                waits(10).await;
                buffer.text += &user;
                waits(1).await;
                let answer = std::mem::take(&mut buffer.text);
                waits(9).await;
                answer
            })
        },
    ),
];

fn service(handle: Handle) -> Router {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .expect("a valid configuration");
    let handler = async move |State(shared): State<Arc<Shared>>, user: UserId| {
        handle(shared, user.to_string()).await
    };
    Router::new()
        .route("/", post(handler))
        .layer(layer)
        .with_state(Arc::<Shared>::default())
}

#[tokio::test]
async fn b80_races_are_found_as_often_as_the_table_says() {
    for (name, expected, handle) in RACES {
        let mut found = 0;
        for seed in 0..20 {
            let report = ScenarioCheck::new()
                .users(2)
                .seed(seed)
                .authenticate(|user, request| request.as_user(user.id()))
                .run(
                    async || service(handle),
                    async |client: Client| {
                        for _ in 0..4 {
                            client.post("/", "").await;
                        }
                    },
                )
                .await;
            let leaks = |finding: &Finding| matches!(finding, Finding::ForeignBytes { .. });
            found += usize::from(report.findings().iter().any(leaks));
        }
        assert!(found >= expected, "{name}: with {found} of 20 seeds");
    }
}
