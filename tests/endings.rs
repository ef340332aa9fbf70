//! How a scope ends, on real servers and where a client goes away in the middle.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::mpsc};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Ending, Fallback, Identity, InstrumentScope, Outcome, Reads, Scoped, UserContext, UserId,
    UserScopeExt, UserScopeLayer, from_fn,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    One,
    Two,
}

/// Sends one request over a real connection, reads the whole answer, and tells how the scope
/// ended.
async fn ending_of(version: Http, method: Method, length: Option<&'static str>) -> Ending {
    let (ended, mut endings) = mpsc::unbounded_channel();
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| ())
        .on_close(move |closed| {
            let _ = ended.send(closed.ending());
        })
        .build()
        .expect("good");
    let service = layer.layer(service_fn(
        move |_: Request<hyper::body::Incoming>| async move {
            let frames =
                ["he", "llo"].map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(part))));
            let mut response = Response::new(StreamBody::new(tokio_stream::iter(frames)));
            if let Some(length) = length {
                let length = HeaderValue::from_static(length);
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
            }
            Ok::<_, Infallible>(response)
        },
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
        let _ = match version {
            Http::One => {
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(stream, service)
                    .await
            }
            Http::Two => {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(stream, service)
                    .await
            }
        };
    });
    let client = Client::builder(TokioExecutor::new())
        .http2_only(version == Http::Two)
        .build_http::<Empty<Bytes>>();
    let request = Request::builder()
        .method(method.clone())
        .uri(format!("http://{address}/"))
        .body(Empty::new())
        .expect("a request");
    let response = client.request(request).await.expect("an answer");
    let body = response.into_body().collect().await;
    let body = body.unwrap_or_else(|error| panic!("{version:?} {method} {length:?}: {error}"));
    let body = body.to_bytes();
    let whole = if method == Method::HEAD { "" } else { "hello" };
    assert_eq!(body, whole);
    let ending = tokio::time::timeout(Duration::from_secs(10), endings.recv()).await;
    let ending = ending
        .expect("the scope closes")
        .expect("the hook is there");
    assert!(endings.try_recv().is_err(), "it closes once");
    server.abort();
    ending
}

#[tokio::test]
async fn a_response_that_arrives_whole_is_completed_whatever_its_framing() {
    for version in [Http::One, Http::Two] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            // Over HTTP/2 hyper leaves it to the application to send no body after a HEAD.
            if (version, &method) == (Http::Two, &Method::HEAD) {
                continue;
            }
            for length in [None, Some("5")] {
                assert_eq!(
                    ending_of(version, method.clone(), length).await,
                    Ending::Completed,
                    "{version:?} {method} with a content length of {length:?}"
                );
            }
        }
    }
}

/// A body of one frame that its server is told of or not, and which can fail.
struct OneFrame {
    frame: Option<Result<Bytes, &'static str>>,
    hint: SizeHint,
    says_end: bool,
}

impl Body for OneFrame {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frame.take().map(|frame| frame.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.says_end
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

async fn ending_after_one_frame(make: fn() -> OneFrame) -> Ending {
    let endings: Arc<Mutex<Vec<Ending>>> = Arc::default();
    let log = Arc::clone(&endings);
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| ())
        .on_close(move |closed| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(closed.ending());
        })
        .build()
        .expect("good");
    let inner = service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(make())))
    });
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    let mut body = Box::pin(response.expect("infallible").into_body());
    let _ = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    let _ = body.is_end_stream();
    drop(body);
    let endings = endings.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(endings.len(), 1, "it closes once");
    endings[0]
}

#[tokio::test]
async fn a_body_ends_as_its_last_frame_says() {
    fn whole() -> OneFrame {
        OneFrame {
            frame: Some(Ok(Bytes::from("all"))),
            hint: SizeHint::new(),
            says_end: false,
        }
    }
    type Make = fn() -> OneFrame;
    let cases: [(&str, Make, Ending); 5] = [
        ("more may come", whole, Ending::Cancelled),
        (
            "it says that it is at its end",
            || OneFrame {
                says_end: true,
                ..whole()
            },
            Ending::Completed,
        ),
        (
            "its hint was as long",
            || OneFrame {
                hint: SizeHint::with_exact(3),
                ..whole()
            },
            Ending::Completed,
        ),
        (
            "its hint was longer",
            || OneFrame {
                hint: SizeHint::with_exact(4),
                ..whole()
            },
            Ending::Cancelled,
        ),
        (
            "it failed and then says that it is at its end",
            || OneFrame {
                frame: Some(Err("broken")),
                says_end: true,
                ..whole()
            },
            Ending::Failed,
        ),
    ];
    for (what, make, ending) in cases {
        assert_eq!(ending_after_one_frame(make).await, ending, "{what}");
    }
}

/// Uses the factory when it is dropped, as a transaction guard would.
struct Guard {
    factory: Scoped<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let used = Scoped::try_get(&self.factory).cloned();
        let used = used.unwrap_or_else(|violation| violation.to_string());
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(used);
    }
}

fn alice() -> impl tower_user_scope::Strategy<Future: Send> {
    from_fn(Reads::predicate(|_| true), |_| {
        let id = UserId::try_from("alice").expect("an id");
        Outcome::from(Identity::proved(id))
    })
}

#[tokio::test]
async fn what_a_cancelled_request_holds_is_dropped_in_its_scope() {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let layer = UserScopeLayer::builder()
        .strategy(alice())
        .factory(|user| user.scoped_key("factory"))
        .require_scope()
        .build()
        .expect("good");
    let guards = Arc::clone(&log);
    // The handler, the body, and work that was given the scope: each is dropped in the middle.
    let inner = service_fn(move |request: Request<()>| {
        let factory = request
            .scoped::<String>()
            .expect("the layer is there")
            .clone();
        let guard = |log: &Arc<Mutex<Vec<String>>>| Guard {
            factory: factory.clone(),
            log: Arc::clone(log),
        };
        let (own, of_body, of_work) = (guard(&guards), guard(&guards), guard(&guards));
        let is_stuck = request.uri().path() == "/stuck";
        async move {
            let held = own;
            let mut work = Box::pin(
                async move {
                    let _held = of_work;
                    std::future::pending::<()>().await;
                }
                .in_current_scope(),
            );
            let _ = futures::poll!(&mut work);
            if is_stuck {
                std::future::pending::<()>().await;
            }
            drop(held);
            let frames = futures::stream::poll_fn(move |_| {
                let _held = &of_body;
                Poll::<Option<Result<Frame<Bytes>, Infallible>>>::Pending
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }
    });
    let key = "factory:user::alice".to_owned();
    for path in ["/stuck", "/"] {
        let request = Request::builder().uri(path).body(()).expect("a request");
        let mut response = Box::pin(layer.layer(inner.clone()).oneshot(request));
        if let Poll::Ready(response) = futures::poll!(&mut response) {
            let mut body = Box::pin(response.expect("infallible").into_body());
            let frame = futures::poll!(std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)));
            assert!(frame.is_pending());
        }
        drop(response);
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(
            *log,
            [key.clone(), key.clone(), key.clone()],
            "what {path} held"
        );
        log.clear();
    }
}

#[tokio::test]
async fn what_waits_for_nothing_is_authorized_and_made_in_the_user_s_scope_too() {
    struct Made(Option<UserContext>);
    let layer = UserScopeLayer::builder()
        .strategy(alice())
        .authorize(|context, _| {
            assert_eq!(UserContext::current().as_ref(), Some(context), "authorized");
            Ok(())
        })
        .factory(|_| Made(UserContext::current()))
        .build()
        .expect("good");
    let inner = service_fn(async |request: Request<()>| {
        let own = request.user_context().expect("inside the layer");
        let made = request.scoped::<Made>().expect("a factory");
        assert_eq!(made.0.as_ref(), Some(own), "made");
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    assert!(response.expect("infallible").status().is_success());
}

#[tokio::test]
async fn the_factory_and_its_authorization_are_made_in_the_user_s_scope() {
    type Seen = Arc<Mutex<Vec<Option<UserContext>>>>;
    let seen = Seen::default();
    let note = |seen: &Seen| {
        let current = UserContext::current();
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(current);
    };
    let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
    let layer = UserScopeLayer::builder()
        .strategy(alice())
        .authorize_async(move |_, _| {
            note(&first);
            let first = Arc::clone(&first);
            async move {
                tokio::task::yield_now().await;
                note(&first);
                Ok(())
            }
        })
        .factory_async(move |_| {
            note(&second);
            let second = Arc::clone(&second);
            async move {
                tokio::task::yield_now().await;
                note(&second);
                Ok::<_, Infallible>(())
            }
        })
        .build()
        .expect("good");
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    layer
        .layer(inner)
        .oneshot(Request::new(()))
        .await
        .expect("infallible");
    assert_eq!(UserContext::current(), None, "and in no other");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let users: Vec<_> = seen
        .iter()
        .map(|context| Some(context.as_ref()?.user_id()?.to_string()))
        .collect();
    assert_eq!(users, vec![Some("alice".to_owned()); 4], "twice each");
}

#[tokio::test]
async fn a_stream_that_was_given_a_scope_is_polled_in_it() {
    use futures::StreamExt as _;
    let id = UserId::try_from("alice").expect("an id");
    let alice = UserContext::builder(Identity::proved(id)).build();
    let current = futures::stream::repeat_with(UserContext::current).take(2);
    let seen: Vec<_> = current.in_scope(alice.clone()).collect().await;
    assert_eq!(seen, [Some(alice.clone()), Some(alice)]);
}
