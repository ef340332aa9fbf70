//! A service with sockets and a hub, and its reports.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tower_user_scope::{
    Scoped, TrustedHeader, UserContext, UserScopeLayer,
    audit::AuditEvent,
    context::Subject,
    scope::{Ending, InstrumentScope},
};

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the condition holds. A test that would hang fails.
pub(super) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// The sockets of each user by topic, as many services have it.
pub(super) struct Hub {
    pub(super) rooms: Mutex<HashMap<Subject, HashMap<usize, mpsc::UnboundedSender<Event>>>>,
    pub(super) next: AtomicUsize,
    pub(super) connected: watch::Sender<usize>,
}

#[derive(Clone)]
pub(super) struct Event {
    pub(super) from: String,
    pub(super) text: String,
}

impl Hub {
    pub(super) fn publish(&self, to: &Subject, event: &Event) {
        for socket in lock(&self.rooms).get(to).into_iter().flatten() {
            // A socket that is closing gets no more events.
            let _ = socket.1.send(event.clone());
        }
    }
}

/// A socket's registration in the hub, until it is dropped.
pub(super) struct Subscription {
    pub(super) hub: Arc<Hub>,
    pub(super) room: Subject,
    pub(super) number: usize,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut rooms = lock(&self.hub.rooms);
        if let Some(room) = rooms.get_mut(&self.room) {
            room.remove(&self.number);
            if room.is_empty() {
                rooms.remove(&self.room);
            }
        }
        self.hub.connected.send_modify(|connected| *connected -= 1);
    }
}

/// The factory that each handshake gets.
pub(super) struct Agents {
    pub(super) owner: UserContext,
    pub(super) shared: Arc<Shared>,
}

impl Agents {
    pub(super) fn subscribe(&self) -> Subscription {
        let hub = Arc::clone(&self.shared.hub);
        let room = self.owner.subject().clone();
        let number = hub.next.fetch_add(1, Ordering::SeqCst);
        let (sender, events) = mpsc::unbounded_channel();
        let mut rooms = lock(&hub.rooms);
        rooms
            .entry(room.clone())
            .or_default()
            .insert(number, sender);
        drop(rooms);
        hub.connected.send_modify(|connected| *connected += 1);
        Subscription {
            hub,
            room,
            number,
            events,
        }
    }

    pub(super) fn say(&self, text: &str) {
        let event = Event {
            from: label(&self.owner),
            text: text.to_owned(),
        };
        self.shared.hub.publish(self.owner.subject(), &event);
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.alive.send_modify(|alive| *alive -= 1);
    }
}

/// The infrastructure that all users share.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) alive: watch::Sender<usize>,
    pub(super) opened: AtomicUsize,
    /// Factories that were used in another scope, or held beyond their own.
    pub(super) alarms: AtomicUsize,
    /// A place outside of every request, for handles that outlive their socket.
    pub(super) elsewhere: Mutex<Vec<Scoped<Agents>>>,
}

/// A closed scope: its user, its ending, and the number of factories at that time.
pub(super) type Closing = (String, Ending, usize);

pub(super) fn label(user: &UserContext) -> String {
    let tenant = user.tenant_id().map_or("nowhere", |id| id.as_str());
    let user = user.user_id().map_or("nobody", |id| id.as_str());
    format!("{user}@{tenant}")
}

/// A message of the server, with its user by context, factory and scope.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) from: String,
    pub(super) factory: String,
    pub(super) handle: String,
    pub(super) scope: String,
}

impl Said {
    pub(super) fn new(event: Event, agents: &Scoped<Agents>) -> Self {
        Self {
            text: event.text,
            from: event.from,
            factory: label(&agents.owner),
            handle: label(Scoped::context(agents)),
            scope: UserContext::current().map_or_else(|| "none".to_owned(), |user| label(&user)),
        }
    }
}

pub(super) async fn open(
    upgrade: WebSocketUpgrade,
    agents: Scoped<Agents>,
    context: UserContext,
    State(shared): State<Arc<Shared>>,
) -> Response {
    upgrade.on_upgrade(|socket| serve(socket, agents, shared).in_scope(context))
}

pub(super) async fn serve(mut socket: WebSocket, agents: Scoped<Agents>, shared: Arc<Shared>) {
    let mut subscription = agents.subscribe();
    let own = |text: &str| Event {
        from: label(&agents.owner),
        text: text.to_owned(),
    };
    let mut event = own("ready");
    loop {
        let said = serde_json::to_string(&Said::new(event, &agents)).expect("plain text");
        if socket.send(Message::Text(said.into())).await.is_err() {
            return;
        }
        event = loop {
            let message = tokio::select! {
                Some(event) = subscription.events.recv() => break event,
                message = socket.recv() => message,
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            };
            match text.as_str() {
                "whose" => break own("yours"),
                "end" => return,
                "panic" => panic!("planted in the task of a socket"),
                "keep" => {
                    lock(&shared.elsewhere).push(Scoped::keep(&agents));
                    break own("kept");
                }
                "use what was kept" => {
                    let used = lock(&shared.elsewhere)
                        .iter()
                        .map(|kept| Scoped::try_get(kept).is_ok())
                        .collect::<Vec<_>>();
                    break own(&format!("{used:?}"));
                }
                text => agents.say(text),
            }
        };
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) closings: mpsc::UnboundedReceiver<Closing>,
}

pub(super) fn app() -> (Router, Arc<Shared>, mpsc::UnboundedReceiver<Closing>) {
    let hub = Arc::new(Hub {
        rooms: Mutex::default(),
        next: AtomicUsize::new(0),
        connected: watch::Sender::new(0),
    });
    let shared = Arc::new(Shared {
        hub,
        alive: watch::Sender::new(0),
        opened: AtomicUsize::new(0),
        alarms: AtomicUsize::new(0),
        elsewhere: Mutex::default(),
    });
    let (closed, closings) = mpsc::unbounded_channel();
    let (builds, observes, at_close) = (shared.clone(), shared.clone(), shared.clone());
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .tenant_header("x-tenant-id")
                .from_proxies(["127.0.0.1"])
                .expect("an address"),
        )
        .factory(move |user: &UserContext| {
            builds.alive.send_modify(|alive| *alive += 1);
            Agents {
                owner: user.clone(),
                shared: builds.clone(),
            }
        })
        .observer(move |event: &AuditEvent<'_>| {
            let count = match event {
                AuditEvent::Accepted { .. } => &observes.opened,
                AuditEvent::CrossUserAccess { .. } | AuditEvent::FactoryRetained { .. } => {
                    &observes.alarms
                }
                _ => return,
            };
            count.fetch_add(1, Ordering::SeqCst);
        })
        .on_close(move |scope| {
            let closing = (
                label(scope.context()),
                scope.ending(),
                *at_close.alive.borrow(),
            );
            let _ = closed.send(closing);
        })
        .build()
        .expect("a valid configuration");
    let router = Router::new()
        .route("/", any(open))
        .with_state(shared.clone())
        .layer(layer);
    (router, shared, closings)
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_until(std::future::pending()).await.0
    }

    /// Starts a server that ends when it is told to and all connections are closed.
    pub(super) async fn start_until(
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (router, shared, closings) = app();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop);
        let serving = tokio::spawn(async move { serving.await.expect("axum serves") });
        let server = Self {
            address,
            shared,
            closings,
        };
        (server, serving)
    }

    pub(super) async fn closing(&mut self) -> Closing {
        let closing = soon("a scope closes", self.closings.recv()).await;
        closing.expect("the layer lives")
    }

    /// Checks that everything is dropped and that no user got another user's data.
    pub(super) async fn assert_empty(&mut self) {
        let mut alive = self.shared.alive.subscribe();
        soon("the last factory is gone", alive.wait_for(|n| *n == 0))
            .await
            .expect("the server lives");
        assert!(self.closings.try_recv().is_err(), "no scope closed twice");
        assert!(lock(&self.shared.hub.rooms).is_empty(), "nobody listens");
        assert_eq!(self.shared.alarms.load(Ordering::SeqCst), 0, "no alarm");
    }
}
