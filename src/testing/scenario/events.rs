//! Event streams, read event by event.

use std::{fmt, future::poll_fn, rc::Rc, task::Poll};

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::{reply::Reply, state::State};
use crate::testing::isolation::{Advance, Answer, End};

/// An open event stream (`text/event-stream`) of a [`Client`](crate::testing::Client).
///
/// It is open while the scenario goes on: what others do meanwhile may show in its next event.
pub struct EventStream {
    pub(super) state: Rc<State>,
    pub(super) seat: usize,
    /// As which its events are reported.
    pub(super) label: String,
    pub(super) status: StatusCode,
    /// Nothing once it is over.
    pub(super) exchange: Option<Box<dyn Advance>>,
    unread: Vec<u8>,
}

impl EventStream {
    pub(super) fn new(state: Rc<State>, seat: usize, path: &str) -> Self {
        Self {
            state,
            seat,
            label: format!("EVENT {path}"),
            status: StatusCode::BAD_GATEWAY,
            exchange: None,
            unread: Vec::new(),
        }
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Waits for the next event, as a step of the scenario. The reply's body is the event's data, and
    /// its headers `event` and `id` are the fields of those names. Returns nothing once the stream has
    /// ended.
    ///
    /// An event that does not come is reported when the check's time is over.
    pub async fn next(&mut self) -> Option<Reply> {
        let (exchange, unread) = (&mut self.exchange, &mut self.unread);
        let mut is_event = false;
        let found = &mut is_event;
        let label = self.label.clone();
        let reply = self
            .state
            .record(self.seat, label, "the next event", |cancel| {
                read_event(exchange, unread, found, cancel.is_some())
            })
            .await;
        is_event.then_some(reply)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("events", &self.label)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Polls until the head of an event stream is there; the response to its end where it is something else.
pub(super) async fn open(exchange: &mut Option<Box<dyn Advance>>) -> (Answer, End) {
    poll_fn(|cx| {
        let Some(polled) = exchange.as_mut() else {
            return Poll::Ready((Answer::default(), End::Failed("no exchange".to_owned())));
        };
        let end = polled.advance(cx);
        let answer = polled.answer();
        if let Some(end) = end {
            let answer = std::mem::take(answer);
            *exchange = None;
            return Poll::Ready((answer, end));
        }
        if is_event_stream(answer) {
            let head = Answer {
                status: answer.status,
                headers: answer.headers.clone(),
                ..Answer::default()
            };
            return Poll::Ready((head, End::Completed));
        }
        Poll::Pending
    })
    .await
}

fn is_event_stream(answer: &Answer) -> bool {
    let kind = answer.headers.get(CONTENT_TYPE);
    answer.is_success()
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

async fn read_event(
    exchange: &mut Option<Box<dyn Advance>>,
    unread: &mut Vec<u8>,
    is_event: &mut bool,
    cancel: bool,
) -> (Answer, End) {
    poll_fn(|cx| {
        let mut next = next_event(unread);
        let mut end = None;
        if next.is_none() {
            let Some(polled) = exchange.as_mut() else {
                return Poll::Ready((over(unread), End::Completed));
            };
            end = polled.advance(cx);
            unread.append(&mut polled.answer().body);
            next = next_event(unread);
        }
        if end.is_some() {
            *exchange = None;
        }
        *is_event = next.is_some();
        match (next, end) {
            (Some(event), _) => Poll::Ready((event, End::Completed)),
            (None, Some(end)) => Poll::Ready((over(unread), end)),
            (None, None) if cancel => Poll::Ready((Answer::default(), End::Cancelled)),
            (None, None) => Poll::Pending,
        }
    })
    .await
}

/// What stands after the last blank line is not an event, but it was sent.
fn over(unread: &mut Vec<u8>) -> Answer {
    Answer {
        status: Some(StatusCode::OK),
        body: std::mem::take(unread),
        ..Answer::default()
    }
}

fn next_event(unread: &mut Vec<u8>) -> Option<Answer> {
    std::iter::from_fn(|| next_block(unread)).find_map(|block| parse(&block))
}

/// Takes what stands before the first blank line.
fn next_block(unread: &mut Vec<u8>) -> Option<String> {
    let (at, length) = next_end(unread)?;
    let block: Vec<u8> = unread.drain(..at + length).take(at).collect();
    Some(String::from_utf8_lossy(&block).into_owned())
}

/// Returns where the first blank line is, and how long its line ends are.
fn next_end(unread: &[u8]) -> Option<(usize, usize)> {
    let ends = [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"];
    let found = ends.iter().filter_map(|end| {
        let at = unread.windows(end.len()).position(|bytes| bytes == *end)?;
        Some((at, end.len()))
    });
    found.min()
}

/// Reads the fields of one event; nothing where there is no data, such as in a comment that keeps the
/// connection alive.
fn parse(block: &str) -> Option<Answer> {
    let mut event = Answer {
        status: Some(StatusCode::OK),
        frames: 1,
        ..Answer::default()
    };
    let mut data: Vec<&str> = Vec::new();
    for line in block.split(['\n', '\r']) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let name = match name {
            "data" => {
                data.push(value);
                continue;
            }
            "event" => "event",
            "id" => "id",
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_str(value) {
            event.headers.insert(name, value);
        }
    }
    event.body = data.join("\n").into_bytes();
    (!data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_what_stands_between_blank_lines() {
        let mut unread =
            b": alive\n\nevent: note\nid: 7\ndata: one\ndata:two\n\ndata: x\r\n\r\ndata: part"
                .to_vec();
        let events: Vec<_> = std::iter::from_fn(|| next_event(&mut unread)).collect();
        let texts: Vec<_> = events.iter().map(|event| &event.body[..]).collect();
        assert_eq!(texts, [&b"one\ntwo"[..], b"x"]);
        assert_eq!(events[0].headers["event"], "note");
        assert_eq!(events[0].headers["id"], "7");
        assert_eq!(unread, b"data: part");
    }
}
