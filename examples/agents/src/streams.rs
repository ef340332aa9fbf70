//! Progress of runs, as server-sent events and over a WebSocket: two ways to read the same events,
//! which are those of the stream's own user.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::{
        Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use tower_user_scope::{Scoped, UserContext, scope::InstrumentScope};

use crate::{
    factory::{AgentFactory, Run},
    hub::{Event, Subscription},
};

/// The code by which a socket says that its session has ended: 401, in the range that
/// applications have (RFC 6455 section 7.4.2).
const SESSION_ENDED: u16 = 4401;

/// The body is polled in the scope of its request, and the layer cuts it off when the session ends,
/// with the event `scope-ended`. So there is nothing to do about it here.
pub(crate) async fn events(
    agents: Scoped<AgentFactory>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = stream::unfold(agents.events(), async |mut events| {
        let event = events.next().await?;
        Some((Ok(as_sse(&event)), events))
    });
    // Headers go out with the first event, so that a client knows when it listens.
    let first = stream::once(async { Ok(sse::Event::default().event("open").data("")) });
    Sse::new(first.chain(events)).keep_alive(KeepAlive::default())
}

/// The user's events until a run has ended. The first one is the run itself.
pub(crate) fn until_end(
    events: Subscription,
    run: Run,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let queued = sse::Event::default().event("queued").json_data(&run);
    let first = stream::once(async { Ok(queued.unwrap_or_default()) });
    let following = stream::unfold(Some(events), move |events| {
        let id = run.id.clone();
        async move {
            let mut events = events?;
            let event = events.next().await?;
            let is_last = event.run == id && event.what.is_last();
            Some((Ok(as_sse(&event)), (!is_last).then_some(events)))
        }
    });
    Sse::new(first.chain(following)).keep_alive(KeepAlive::default())
}

fn as_sse(event: &Arc<Event>) -> sse::Event {
    sse::Event::default()
        .json_data(&**event)
        .unwrap_or_default()
}

/// The handshake is a request like any other. The socket runs on a task of its own, which has no scope
/// until it is given one.
pub(crate) async fn socket(
    upgrade: WebSocketUpgrade,
    context: UserContext,
    agents: Scoped<AgentFactory>,
) -> Response {
    let upgrade = upgrade.max_message_size(1024);
    upgrade.on_upgrade(|socket| serve(socket, agents).in_scope(context))
}

async fn serve(mut socket: WebSocket, agents: Scoped<AgentFactory>) {
    let mut events = agents.events();
    // Ready when the session expires, or is logged out of.
    let mut ended = std::pin::pin!(Scoped::context(&agents).ended());
    // The client knows by this that it listens.
    if socket
        .send(Message::text(r#"{"kind":"open"}"#))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let event = tokio::select! {
            reason = &mut ended => {
                let reason = reason.as_str().into();
                let close = CloseFrame { code: SESSION_ENDED, reason };
                let _ = socket.send(Message::Close(Some(close))).await;
                return;
            }
            event = events.next() => event,
            // Clients have nothing to say, but they leave.
            message = socket.recv() => match message {
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Some(event) = event else { return };
        let Ok(text) = serde_json::to_string(&*event) else {
            return;
        };
        if socket.send(Message::text(text)).await.is_err() {
            return;
        }
    }
}
