//! The end of a response's body before its own, because its identity has ended.
//!
//! | the response is | the client gets |
//! | --- | --- |
//! | an event stream | the event `scope-ended` with the reason, and the end |
//! | gRPC, gRPC-Web | the status `UNAUTHENTICATED` in the trailers |
//! | any other | an error, so that what it got is not taken for the whole |

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body::Frame;

use crate::{
    lifetime::{EndReason, Lifetime},
    rejection::{Protocol, cut_off},
    scope::ScopeEndedError,
};

/// Ends a body when its identity ends.
pub(crate) struct Cut {
    lifetime: Lifetime,
    form: Form,
    /// Made when the body has to be waited for, as most have not. The mutex is never locked: it makes
    /// the future `Sync`.
    ended: Option<Mutex<Ended>>,
    /// Whether a frame was sent: a response of one frame always arrives whole.
    has_begun: bool,
}

type Ended = Pin<Box<dyn Future<Output = EndReason> + Send>>;

/// How a client is told.
#[derive(Clone, Copy)]
enum Form {
    /// An event stream, and whether its last frame was the end of an event.
    Events {
        between: bool,
    },
    Grpc(Protocol),
    Other,
}

impl Cut {
    pub(super) fn new(lifetime: Lifetime, headers: &HeaderMap) -> Self {
        Self {
            lifetime,
            form: Form::of(headers),
            ended: None,
            has_begun: false,
        }
    }

    /// Returns why the body has to end before it is asked for its next frame.
    pub(super) fn before_frame(&self) -> Option<EndReason> {
        (self.lifetime.end()).filter(|_| self.has_begun)
    }

    /// Waits for the end, while the body has no frame.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let lifetime = &self.lifetime;
        let ended = self
            .ended
            .get_or_insert_with(|| Mutex::new(Box::pin(lifetime.clone().ended())));
        let ended = ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        ended.as_mut().poll(cx)
    }

    /// Takes note of a frame that is sent.
    pub(super) fn sends<D: Buf>(&mut self, frame: &Frame<D>) {
        self.has_begun = true;
        if let (Form::Events { between }, Some(data)) = (&mut self.form, frame.data_ref()) {
            let last = data.chunk();
            let is_whole = last.len() == data.remaining();
            let ends = [&b"\n\n"[..], b"\r\r", b"\r\n\r\n"];
            *between = is_whole && ends.iter().any(|end| last.ends_with(end));
        }
    }

    /// The last frame of the body, or the error that it ends with.
    pub(super) fn last_frame<D: From<Bytes>>(
        &self,
        reason: EndReason,
    ) -> Result<Frame<D>, ScopeEndedError> {
        match self.form {
            Form::Events { between: true } => {
                let event = format!("event: scope-ended\ndata: {reason}\n\n");
                Ok(Frame::data(Bytes::from(event).into()))
            }
            Form::Grpc(protocol) => cut_off(protocol, reason).ok_or(ScopeEndedError { reason }),
            Form::Events { between: false } | Form::Other => Err(ScopeEndedError { reason }),
        }
    }
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::CONTENT_ENCODING)
        {
            return Self::Other;
        }
        if let Some(protocol) = Protocol::of(headers) {
            return Self::Grpc(protocol);
        }
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| {
            let value = value.to_str().ok()?;
            value.split(';').next().map(str::trim)
        });
        match media_type {
            Some(media_type) if media_type.eq_ignore_ascii_case("text/event-stream") => {
                Self::Events { between: true }
            }
            _ => Self::Other,
        }
    }
}
