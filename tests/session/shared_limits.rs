//! Limits that three replicas count in one Redis: N replicas are not N times the limit (B14), slots come
//! back, also those of a replica that dies (B60), nobody sees the use of others (B61), and without its
//! store a limit does what the application said (B58).

use std::{convert::Infallible, env, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{future::join_all, stream};
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use redis::{Client, aio::MultiplexedConnection, cmd};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserId, UserScopeLayer,
    audit::AuditEvent,
    context::TenantId,
    from_fn,
    limit::{Limit, OnUnavailable, Rate},
    middleware::ResponseBody,
    redis::RedisLimits,
    testing::Recorder,
};

use crate::support::{
    processes::Process,
    servers::{Server, redis_connection, skip},
    soon,
};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
/// In the environment of a process that holds a slot: the address of Redis.
const HOLDS_A_SLOT: &str = "TEST_HOLDS_A_SLOT_IN_REDIS";

type Answer = Response<ResponseBody<Body>>;

#[derive(Clone)]
struct Replica {
    app: BoxCloneSyncService<Request<()>, Answer, Infallible>,
    recorder: Recorder,
}

/// Reads `x-user: alice` or `x-user: acme/alice`.
fn sender(head: &Parts) -> Outcome {
    let Some(value) = head
        .headers
        .get("x-user")
        .and_then(|value| value.to_str().ok())
    else {
        return Outcome::Absent;
    };
    let (tenant, user) = value.split_once('/').unwrap_or(("", value));
    let identity = Identity::proved(user.parse::<UserId>().expect("an id"));
    match tenant {
        "" => identity.into(),
        tenant => identity
            .with_tenant_id(tenant.parse::<TenantId>().expect("an id"))
            .into(),
    }
}

async fn answer(request: Request<()>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(match request.uri().path() {
        "/hold" => Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()),
        _ => Body::from("answer"),
    }))
}

impl Replica {
    fn new(
        redis: &str,
        limits: impl IntoIterator<Item = Limit>,
        on_unavailable: OnUnavailable,
    ) -> Self {
        let client = Client::open(redis).expect("a URL of Redis");
        let store = Arc::new(RedisLimits::new(client, "shop").lease_time(SECOND));
        let recorder = Recorder::new();
        let mut builder = UserScopeLayer::builder()
            .strategy(from_fn(CredentialSource::header("x-user"), sender))
            .observer(recorder.clone());
        for limit in limits {
            builder = builder.limit(limit.in_store(Arc::clone(&store), on_unavailable));
        }
        let layer = builder
            .return_rate_limits()
            .context_only()
            .build()
            .expect("a valid configuration");
        let app = BoxCloneSyncService::new(layer.layer(service_fn(answer)));
        Self { app, recorder }
    }

    async fn ask(&self, user: &str, path: &str) -> Answer {
        let request = Request::get(path).header("x-user", user).body(());
        let Ok(response) = self.app.clone().oneshot(request.expect("a request")).await;
        response
    }

    /// Reads the answer to its end.
    async fn status(&self, user: &str, path: &str) -> u16 {
        let response = self.ask(user, path).await;
        let status = response.status().as_u16();
        response.into_body().collect().await.expect("a body");
        status
    }

    /// Asks until the answer is this one.
    async fn until(&self, status: u16, user: &str, path: &str) -> Answer {
        let what = format!("{user} gets {status}");
        let asks = async {
            loop {
                let response = self.ask(user, path).await;
                if response.status() == status {
                    return response;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&what, asks).await
    }
}

async fn keys(redis: &mut MultiplexedConnection) -> Vec<String> {
    let keys = cmd("KEYS").arg("*").query_async(redis).await;
    keys.expect("keys")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b14_three_replicas_are_not_three_times_the_limit() {
    let Some(server) = Server::redis() else {
        return skip(
            "b14_three_replicas_are_not_three_times_the_limit",
            "redis-server",
        );
    };
    drop(redis_connection(&server.url()).await);
    let limits = || [Limit::rate("requests", Rate::new(10, HOUR))];
    let replica = || Replica::new(&server.url(), limits(), OnUnavailable::Refuse);
    let replicas = [replica(), replica(), replica()];
    let asked = (0..60).map(|number| replicas[number % 3].status("alice", "/"));
    let mut passed = join_all(asked).await;
    passed.retain(|status| *status == 200);
    // Exactly: no window ends within an hour.
    assert_eq!(passed.len(), 10);
    let refused = replicas[1].ask("alice", "/").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("it");
    assert!((300..=360).contains(&wait), "{wait}");
    assert_eq!(
        refused.headers()["ratelimit-policy"],
        "\"requests\";q=10;w=3600"
    );
    // Others have all of theirs.
    for user in ["bob", "acme/alice"] {
        let asked = (0..12).map(|number| replicas[number % 3].status(user, "/"));
        let passed = join_all(asked)
            .await
            .into_iter()
            .filter(|status| *status == 200);
        assert_eq!(passed.count(), 10, "{user}");
    }
    // No id is in a key, and each has an end.
    let mut redis = redis_connection(&server.url()).await;
    let keys = keys(&mut redis).await;
    assert_eq!(keys.len(), 3);
    for key in keys {
        assert!(
            !["alice", "bob", "acme", "requests"]
                .iter()
                .any(|id| key.contains(id)),
            "{key}"
        );
        let ttl: i64 = cmd("PTTL")
            .arg(&key)
            .query_async(&mut redis)
            .await
            .expect("it");
        assert!((1..=3_600_001).contains(&ttl), "{ttl}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_comes_back_by_the_clock_of_redis() {
    let Some(server) = Server::redis() else {
        return skip("a_rate_comes_back_by_the_clock_of_redis", "redis-server");
    };
    drop(redis_connection(&server.url()).await);
    for rate in [
        Rate::new(3, Duration::from_millis(300)),
        Rate::new(3, Duration::from_millis(300)).with_burst(1),
        Rate::new(u32::MAX, HOUR),
        Rate::new(1, Duration::MAX),
    ] {
        let limit = || [Limit::rate("requests", rate)];
        let replica = Replica::new(&server.url(), limit(), OnUnavailable::Refuse);
        let user = format!("user-{rate:?}").replace([' ', ','], "");
        assert_eq!(replica.status(&user, "/").await, 200, "{rate:?}");
        if rate.burst() <= 3 && rate.period() < HOUR {
            replica.until(429, &user, "/").await;
            replica.until(200, &user, "/").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_one_limit_refuses_is_counted_by_none() {
    let Some(server) = Server::redis() else {
        return skip(
            "a_request_that_one_limit_refuses_is_counted_by_none",
            "redis-server",
        );
    };
    drop(redis_connection(&server.url()).await);
    let limits = [
        Limit::concurrency("open", 1),
        Limit::rate("requests", Rate::new(3, HOUR)),
        Limit::rate("uploads", Rate::new(1, HOUR)).only(|_, head| head.uri.path() == "/up"),
    ];
    let replica = Replica::new(&server.url(), limits, OnUnavailable::Refuse);
    let held = replica.ask("alice", "/hold").await;
    assert_eq!(held.status(), 200);
    // Refused for its slot, it has used none of the rates.
    for _ in 0..5 {
        let refused = replica.ask("alice", "/up").await;
        assert_eq!(refused.headers()["ratelimit"], "\"open\";r=0;t=1");
    }
    drop(held);
    let passed = replica.ask("alice", "/up").await;
    assert_eq!(passed.status(), 200);
    // One of the three requests is that of the slot.
    let left = "\"open\";r=0, \"requests\";r=1;t=2400, \"uploads\";r=0;t=3600";
    assert_eq!(passed.headers()["ratelimit"], left);
    drop(passed);
    for _ in 0..5 {
        let refused = replica.ask("alice", "/up").await;
        let policy = &refused.headers()["ratelimit-policy"];
        assert_eq!(policy, "\"uploads\";q=1;w=3600");
    }
    assert_eq!(replica.status("alice", "/").await, 200);
    let refused = replica.ask("alice", "/").await;
    assert_eq!(
        refused.headers()["ratelimit-policy"],
        "\"requests\";q=3;w=3600"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b60_a_slot_is_held_on_every_replica_to_the_end_of_the_body() {
    let Some(server) = Server::redis() else {
        return skip(
            "b60_a_slot_is_held_on_every_replica_to_the_end_of_the_body",
            "redis-server",
        );
    };
    let mut redis = redis_connection(&server.url()).await;
    let limits = || {
        [
            Limit::concurrency("open", 2),
            Limit::concurrency("all", 2).per_tenant(),
        ]
    };
    let replica = || Replica::new(&server.url(), limits(), OnUnavailable::Refuse);
    let [a, b] = [replica(), replica()];
    let first = a.until(200, "acme/alice", "/hold").await;
    let second = b.ask("acme/alice", "/hold").await;
    assert_eq!(second.status(), 200);
    assert_eq!(a.status("acme/alice", "/").await, 429);
    assert_eq!(b.status("acme/bob", "/").await, 429);
    assert_eq!(b.status("bob", "/").await, 200);
    // For longer than a lease lives: until each was renewed often enough.
    let expiry = async |redis: &mut MultiplexedConnection| -> f64 {
        let mut first = f64::INFINITY;
        for key in keys(redis).await {
            let mut range = cmd("ZRANGE");
            range.arg(&key).arg(0).arg(0).arg("WITHSCORES");
            let scores: Vec<(String, f64)> = range.query_async(redis).await.expect("scores");
            first = scores.iter().map(|(_, score)| *score).fold(first, f64::min);
        }
        first
    };
    let begun = expiry(&mut redis).await;
    let renewed = async {
        while expiry(&mut redis).await < begun + 2_500.0 {
            assert_eq!(a.status("acme/alice", "/").await, 429);
        }
    };
    soon("the leases are renewed", renewed).await;
    drop(first);
    let third = b.until(200, "acme/bob", "/hold").await;
    drop((second, third));
    a.until(200, "acme/alice", "/hold").await;
    let empty = async {
        while !keys(&mut redis).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("nothing is left in Redis", empty).await;
}

/// The slot of a request that has ended is free for the next one of the same replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_one_after_the_other_need_one_slot() {
    let Some(server) = Server::redis() else {
        return skip("requests_one_after_the_other_need_one_slot", "redis-server");
    };
    drop(redis_connection(&server.url()).await);
    let limits = [Limit::concurrency("open", 1)];
    let replica = Replica::new(&server.url(), limits, OnUnavailable::Refuse);
    for number in 0..300 {
        assert_eq!(replica.status("alice", "/").await, 200, "request {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b58_without_redis_a_limit_lets_pass_or_refuses_as_was_said() {
    let Some(mut server) = Server::redis() else {
        let name = "b58_without_redis_a_limit_lets_pass_or_refuses_as_was_said";
        return skip(name, "redis-server");
    };
    drop(redis_connection(&server.url()).await);
    let limits = || {
        [
            Limit::concurrency("open", 1),
            Limit::rate("requests", Rate::new(100, HOUR)),
        ]
    };
    let allows = Replica::new(&server.url(), limits(), OnUnavailable::Allow);
    let refuses = Replica::new(&server.url(), limits(), OnUnavailable::Refuse);
    let held = refuses.until(200, "alice", "/hold").await;
    for crash in [true, false] {
        if crash {
            server.kill();
        } else {
            server.stop();
        }
        assert_eq!(refuses.status("bob", "/").await, 503);
        let skipped = allows.recorder.events().len();
        assert_eq!(allows.status("bob", "/").await, 200);
        let events = allows.recorder.events().into_iter().skip(skipped);
        let names = events.filter_map(|event| match event {
            AuditEvent::LimitSkipped { limit, .. } => Some(limit.into_owned()),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), ["open", "requests"]);
        if crash {
            server.start();
            let mut redis = redis_connection(&server.url()).await;
            let () = cmd("FLUSHALL")
                .query_async(&mut redis)
                .await
                .expect("flushed");
        } else {
            server.go_on();
        }
        // The slot of the scope that is open is taken again, whatever Redis has forgotten.
        drop(refuses.until(429, "alice", "/").await);
        drop(refuses.until(200, "bob", "/").await);
    }
    drop(held);
    allows.until(200, "alice", "/").await;
}

/// Does nothing, unless it is started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_holds_a_slot() {
    let Ok(redis) = env::var(HOLDS_A_SLOT) else {
        return;
    };
    let limits = [Limit::concurrency("open", 1)];
    let replica = Replica::new(&redis, limits, OnUnavailable::Refuse);
    let held = replica.ask("alice", "/hold").await;
    println!("holds {}", held.status());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b60_the_slots_of_a_replica_that_dies_come_back() {
    let Some(server) = Server::redis() else {
        return skip(
            "b60_the_slots_of_a_replica_that_dies_come_back",
            "redis-server",
        );
    };
    drop(redis_connection(&server.url()).await);
    let test = "shared_limits::a_process_that_holds_a_slot";
    let (process, held) = Process::spawn(test, HOLDS_A_SLOT, &server.url(), "holds ");
    assert_eq!(held, "200 OK");
    let limits = [Limit::concurrency("open", 1)];
    let replica = Replica::new(&server.url(), limits, OnUnavailable::Refuse);
    assert_eq!(replica.status("alice", "/").await, 429);
    assert_eq!(replica.status("bob", "/").await, 200);
    drop(process);
    replica.until(200, "alice", "/").await;
}
