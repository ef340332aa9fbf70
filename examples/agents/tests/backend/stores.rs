//! With Redis and `PostgreSQL`, which are killed and come back: nobody is taken for another meanwhile,
//! and everybody goes on afterwards. And a wrong query shows nothing of others.

use serde_json::{Value, json};

use crate::{
    servers::Server,
    support::{Backend, User, skip, soon},
};

/// Waits until a user's requests are answered again.
async fn comes_back(user: &User) {
    let answers = async {
        while !user.get("/api/me").await.status().is_success() {
            tokio::task::yield_now().await;
        }
    };
    soon("the store is back", answers).await;
}

/// Sees nobody, or the user: never another one.
async fn sees_only_itself(user: &User, others: &User) {
    for path in ["/api/me", "/api/threads", "/api/wrong-query"] {
        let response = user.get(path).await;
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(!text.contains(&others.name), "{path}: {text}");
        assert!(status.is_success() || status == 503, "{path}: {status}");
    }
}

#[tokio::test]
async fn stores_that_are_killed_and_come_back_mix_up_nobody() {
    let (Some(mut redis), Some(mut postgres)) = (Server::redis(), Server::postgres()) else {
        return skip("killed stores", "Redis or PostgreSQL", "REQUIRE_STORES");
    };
    let owner_url = postgres.url();
    // It waits until the server is up.
    drop(crate::servers::postgres_store(&owner_url).await);
    let url = owner_url.replace("test@", "agents@");
    let stores = ["--redis", &redis.url(), "--postgres", &url];
    let owner = ["--postgres-owner", owner_url.as_str(), "--model-delay", "0"];
    let backend = Backend::start(&[&stores[..], &owner[..]].concat()).await;

    let alice = backend.sign_up("alice-of-stores").await;
    let bob = backend.sign_up("bob-of-stores").await;
    let (of_alice, of_bob) = tokio::join!(
        alice.add_thread("thread of alice-of-stores"),
        bob.add_thread("thread of bob-of-stores"),
    );
    let (ran, also_ran) = tokio::join!(
        alice.run(&of_alice, "recall", "task of alice-of-stores"),
        bob.run(&of_bob, "recall", "task of bob-of-stores"),
    );
    assert!(
        ran.contains(&alice.name) && !ran.contains(&bob.name),
        "{ran}"
    );
    assert!(
        also_ran.contains(&bob.name) && !also_ran.contains(&alice.name),
        "{also_ran}"
    );

    // The rows of everybody are there, and the query asks for them.
    for user in [&alice, &bob] {
        let rows: Value = user
            .get("/api/wrong-query")
            .await
            .json()
            .await
            .expect("rows");
        let title = format!("thread of {}", user.name);
        assert_eq!(rows, json!([{ "owner": user.name, "title": title }]));
    }

    redis.kill();
    assert_eq!(alice.get("/api/me").await.status(), 503);
    sees_only_itself(&bob, &alice).await;
    redis.start();
    comes_back(&alice).await;
    comes_back(&bob).await;

    postgres.kill();
    assert_eq!(alice.get("/api/threads").await.status(), 503);
    sees_only_itself(&bob, &alice).await;
    postgres.start();
    let runs = async {
        while !alice.get("/api/me").await.status().is_success() {
            postgres.keep_running();
            tokio::task::yield_now().await;
        }
    };
    soon("PostgreSQL is back", runs).await;
    comes_back(&bob).await;

    for (user, others) in [(&alice, &bob), (&bob, &alice)] {
        sees_only_itself(user, others).await;
    }
    let again = alice.run(&of_alice, "recall", "once more").await;
    assert!(
        again.contains(&alice.name) && again.contains("done"),
        "{again}"
    );
}
