//! One request and its response, polled step by step.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower::{BoxError, Service};

use crate::rejection::Rejection;

/// How a response's body is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::testing) struct Reading {
    /// After how many frames reading ends.
    pub(in crate::testing) frames: usize,
    /// Whether that is an end like any other, as of a client that goes away.
    pub(in crate::testing) may_be_cut: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            frames: 1_024,
            may_be_cut: false,
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::testing) enum End {
    Completed,
    Cancelled,
    Failed(String),
    Panicked(String),
    /// It still sent after the limit of frames.
    Endless,
    /// It was not over when the time was.
    TimedOut(&'static str),
}

/// What a client got, whole or in part.
#[derive(Debug, Default)]
pub(in crate::testing) struct Answer {
    pub(in crate::testing) status: Option<StatusCode>,
    pub(in crate::testing) headers: HeaderMap,
    pub(in crate::testing) trailers: HeaderMap,
    pub(in crate::testing) body: Vec<u8>,
    pub(in crate::testing) frames: usize,
    /// Why this crate's layer refused.
    pub(in crate::testing) refusal: Option<String>,
    /// What the response to an upgrade has beside its head. Of others it is dropped, because it may
    /// hold what is to be gone by then.
    pub(in crate::testing) extensions: Extensions,
}

impl Answer {
    /// Returns whether the status says success or an upgrade, and gRPC's too.
    pub(in crate::testing) fn is_success(&self) -> bool {
        let refused =
            |headers: &HeaderMap| headers.get("grpc-status").is_some_and(|code| code != "0");
        let is_good =
            |status: StatusCode| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
        self.status.is_some_and(is_good) && !refused(&self.headers) && !refused(&self.trailers)
    }
}

/// One request and its response.
pub(in crate::testing) struct Exchange<S: Service<Request<B>>, B, R> {
    /// Method and path.
    pub(in crate::testing) request: String,
    pub(in crate::testing) polls: usize,
    pub(in crate::testing) answer: Answer,
    reading: Reading,
    stage: Stage<S, B, R>,
}

enum Stage<S: Service<Request<B>>, B, R> {
    Preparing(Box<(S, Option<Request<B>>)>),
    Calling(Pin<Box<S::Future>>),
    Reading(Pin<Box<R>>),
}

impl<S, B, R> Exchange<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>>,
    R: Body,
{
    pub(in crate::testing) fn new(service: S, request: Request<B>, reading: Reading) -> Self {
        Self {
            request: format!("{} {}", request.method(), request.uri().path()),
            polls: 0,
            answer: Answer::default(),
            reading,
            stage: Stage::Preparing(Box::new((service, Some(request)))),
        }
    }

    /// Polls once. Returns how it ended, after which it must not be polled again.
    pub(in crate::testing) fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.polls += 1;
        let step = catch_unwind(AssertUnwindSafe(|| self.step(cx)));
        step.unwrap_or_else(|panic| Some(End::Panicked(message(&*panic))))
    }

    /// Returns what it waits for.
    pub(in crate::testing) fn waits_for(&self) -> &'static str {
        match self.stage {
            Stage::Preparing(_) => "the service to become ready",
            Stage::Calling(_) => "the response",
            Stage::Reading(_) => "the body's next frame",
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Option<End> {
        match &mut self.stage {
            Stage::Preparing(both) => match both.0.poll_ready(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(failed(error)),
                Poll::Ready(Ok(())) => {
                    let (service, request) = &mut **both;
                    let request = request.take()?;
                    self.stage = Stage::Calling(Box::pin(service.call(request)));
                }
            },
            Stage::Calling(future) => match future.as_mut().poll(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(failed(error)),
                Poll::Ready(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    let refusal = head.extensions.get::<Rejection>();
                    self.answer.refusal = refusal.map(ToString::to_string);
                    if head.status == StatusCode::SWITCHING_PROTOCOLS {
                        self.answer.extensions = head.extensions;
                    }
                    self.answer.status = Some(head.status);
                    self.answer.headers = head.headers;
                    self.stage = Stage::Reading(Box::pin(body));
                }
            },
            Stage::Reading(body) => match body.as_mut().poll_frame(cx) {
                Poll::Pending => return None,
                Poll::Ready(Some(Err(_))) => {
                    return Some(End::Failed("the body failed".to_owned()));
                }
                Poll::Ready(None) => return Some(End::Completed),
                Poll::Ready(Some(Ok(frame))) => {
                    self.answer.frames += 1;
                    match frame.into_data() {
                        Ok(mut data) => {
                            let data = data.copy_to_bytes(data.remaining());
                            self.answer.body.extend_from_slice(&data);
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            self.answer.trailers.extend(trailers);
                        }
                    }
                    if self.answer.frames >= self.reading.frames {
                        return Some(if self.reading.may_be_cut {
                            End::Completed
                        } else {
                            End::Endless
                        });
                    }
                }
            },
        }
        // The next stage was not polled, so no waker is registered for it.
        cx.waker().wake_by_ref();
        None
    }
}

/// An exchange of a service whose types are not known.
pub(in crate::testing) trait Advance {
    /// Polls once. Returns how it ended, after which it must not be polled again.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End>;

    /// Returns what came so far.
    fn answer(&mut self) -> &mut Answer;
}

impl<S, B, R> Advance for Exchange<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>>,
    R: Body,
{
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.advance(cx)
    }

    fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }
}

fn failed(error: impl Into<BoxError>) -> End {
    End::Failed(error.into().to_string())
}

pub(in crate::testing) fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a message".to_owned())
}
