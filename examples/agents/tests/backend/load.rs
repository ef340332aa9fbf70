//! Many open sockets of many users, with runs of all of them: each event reaches every socket of its own
//! user, and no other.
//!
//! The test is the short form. `.ci/agents-load` has 2,000 sockets of 500 users, and 200 requests a
//! second for five minutes.

use std::{
    collections::HashMap,
    env, fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support::{Backend, User, soon};

const SOCKETS_OF_EACH: usize = 4;
/// Every fourth request starts a run; the others read.
const REQUESTS_FOR_A_RUN: usize = 4;
/// Of a run with an input of four words: it starts, seven words, it is done.
const EVENTS_OF_A_RUN: usize = 9;

fn number(name: &str, default: u32) -> u32 {
    let set = env::var(name).ok();
    set.map_or(default, |set| set.parse().expect("a number"))
}

/// How many events of each run a socket has received.
type Received = Arc<Mutex<HashMap<String, usize>>>;

async fn listen(url: &str, user: &User) -> WebSocketStream<TcpStream> {
    let address = &url["http://".len()..];
    let mut request = format!("ws://{address}/api/socket")
        .into_client_request()
        .expect("a handshake");
    let cookie = user.cookie.parse().expect("a header's value");
    request.headers_mut().insert("cookie", cookie);
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut socket, _) = client_async(request, stream).await.expect("a socket");
    let first = socket.next().await.expect("open").expect("a message");
    assert_eq!(
        first.into_text().expect("text").as_str(),
        r#"{"kind":"open"}"#
    );
    socket
}

async fn count(mut socket: WebSocketStream<TcpStream>, received: Received) {
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let event: Value = serde_json::from_str(&text).expect("an event");
        let run = event["run"].as_str().expect("an id").to_owned();
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        *received.entry(run).or_default() += 1;
    }
}

/// The resident memory of the program, in KiB.
fn memory(backend: &Backend) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", backend.child.id()?)).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_reaches_the_sockets_of_its_own_user_and_no_other() {
    let users = usize::try_from(number("LOAD_USERS", 12)).expect("a number of users");
    let seconds = number("LOAD_SECONDS", 2);
    let rate = number("LOAD_RATE", 40);
    let backend = Backend::start(&["--model-delay", "1"]).await;

    let mut people = Vec::new();
    let mut sockets = Vec::new();
    let mut listening = JoinSet::new();
    for user in 0..users {
        let user = backend.sign_up(&format!("load-{user:04}")).await;
        let thread = user.add_thread("load").await;
        let mut of_user = Vec::new();
        for _ in 0..SOCKETS_OF_EACH {
            let received = Received::default();
            let socket = listen(&backend.url, &user).await;
            listening.spawn(count(socket, Arc::clone(&received)));
            of_user.push(received);
        }
        sockets.push(of_user);
        people.push((user, thread));
    }

    let mut requests = JoinSet::new();
    let mut clock = time::interval(Duration::from_secs(1) / rate);
    let mut memory_before = None;
    let all = usize::try_from(seconds * rate).expect("a number of requests");
    for request in 0..all {
        clock.tick().await;
        let number = request / REQUESTS_FOR_A_RUN % users;
        let (user, thread) = people[number].clone();
        requests.spawn(async move {
            if request % REQUESTS_FOR_A_RUN != 0 {
                let response = user.get("/api/threads").await;
                assert!(response.status().is_success(), "{response:?}");
                return None;
            }
            let body =
                json!({ "agent": "answer", "input": format!("task of {} today", user.name) });
            let run = user
                .post(&format!("/api/threads/{thread}/runs"), &body)
                .await;
            let run: Value = run.json().await.expect("a run");
            Some((number, run["id"].as_str().expect("an id").to_owned()))
        });
        if request == all / 3 {
            memory_before = memory(&backend);
        }
    }
    let mut runs: Vec<Vec<String>> = vec![Vec::new(); users];
    while let Some(done) = requests.join_next().await {
        if let Some((number, run)) = done.expect("it was answered") {
            runs[number].push(run);
        }
    }
    let sent: usize = runs.iter().map(Vec::len).sum::<usize>() * SOCKETS_OF_EACH * EVENTS_OF_A_RUN;
    let received = || -> usize {
        let sockets = sockets.iter().flatten();
        let of_each = sockets.map(|socket| {
            let runs = socket.lock().unwrap_or_else(PoisonError::into_inner);
            runs.values().sum::<usize>()
        });
        of_each.sum()
    };
    let arrive = async {
        while received() < sent {
            tokio::task::yield_now().await;
        }
    };
    soon("every event arrives", arrive).await;

    let memory_after = memory(&backend);
    println!(
        "{users} users, {} sockets, {all} requests, {sent} events sent, {} received, \
         memory {memory_before:?} KiB then {memory_after:?} KiB",
        users * SOCKETS_OF_EACH,
        received(),
    );
    for (own, of_user) in runs.iter().zip(&sockets) {
        for socket in of_user {
            let received = socket.lock().unwrap_or_else(PoisonError::into_inner);
            let expected: HashMap<_, _> = own
                .iter()
                .map(|run| (run.clone(), EVENTS_OF_A_RUN))
                .collect();
            assert_eq!(*received, expected);
        }
    }
    drop(backend);
    let ended = async { while listening.join_next().await.is_some() {} };
    soon("sockets end with the program", ended).await;
}
