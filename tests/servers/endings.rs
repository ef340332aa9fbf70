//! How a scope ends, on real servers and with clients that disconnect.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
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
    CredentialSource, Fallback, Identity, Outcome, Scoped, UserContext, UserId, UserScopeExt,
    UserScopeLayer, from_fn,
    middleware::BodyError,
    scope::{Ending, InstrumentScope},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    One,
    Two,
}

/// Sends one request over a real connection, reads the response, and returns how the scope ended.
async fn served<B>(
    version: Http,
    method: Method,
    length: Option<&'static str>,
    make: impl Fn() -> B + Clone + Send + 'static,
    check: impl FnOnce(Result<Bytes, Box<dyn std::error::Error>>),
) -> Ending
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (ended, mut endings) = mpsc::unbounded_channel();
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| ())
        .on_close(move |closed| {
            let _ = ended.send(closed.ending());
        })
        .build()
        .expect("good");
    let service = layer.layer(service_fn(move |_: Request<hyper::body::Incoming>| {
        let mut response = Response::new(make());
        if let Some(length) = length {
            let length = HeaderValue::from_static(length);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
        }
        std::future::ready(Ok::<_, Infallible>(response))
    }));
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
        .method(method)
        .uri(format!("http://{address}/"))
        // Without this header an HTTP/1 server sends no trailers (RFC 9110 section 6.5.1).
        .header(header::TE, "trailers")
        .body(Empty::new())
        .expect("a request");
    // A server that notices that a body is too short may not have sent anything yet.
    let read = async {
        let response = client.request(request).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    };
    check(read.await);
    let ending = tokio::time::timeout(Duration::from_secs(10), endings.recv()).await;
    let ending = ending
        .expect("the scope closes")
        .expect("the hook is there");
    assert!(endings.try_recv().is_err(), "it closes once");
    server.abort();
    ending
}

/// The same as [`served`], with a body of two frames that arrives completely.
async fn ending_of(version: Http, method: Method, length: Option<&'static str>) -> Ending {
    let what = format!("{version:?} {method} {length:?}");
    let whole = if method == Method::HEAD { "" } else { "hello" };
    let make = || {
        let frames = ["he", "llo"].map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(part))));
        StreamBody::new(tokio_stream::iter(frames))
    };
    served(version, method, length, make, |body| {
        let body = body.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(body, whole);
    })
    .await
}

#[tokio::test]
async fn a_response_that_arrives_whole_is_completed_whatever_its_framing() {
    for version in [Http::One, Http::Two] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            // Over HTTP/2, hyper sends the body that an application returns for a HEAD.
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

/// The steps of a body, in order.
#[derive(Clone, Copy, Debug)]
enum Part {
    Data(&'static str),
    Trailers,
    Fails,
}

/// A body that reports its length and its end correctly, wrongly or not at all.
struct Parts {
    left: std::collections::VecDeque<Part>,
    hint: SizeHint,
    says_end: bool,
}

impl Parts {
    fn of(parts: &[Part]) -> Self {
        Self {
            left: parts.iter().copied().collect(),
            hint: SizeHint::new(),
            says_end: false,
        }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.left.pop_front().map(|part| match part {
            Part::Data(data) => Ok(Frame::data(Bytes::from(data))),
            Part::Trailers => Ok(Frame::trailers(http::HeaderMap::new())),
            Part::Fails => Err("broken"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.says_end
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// The facts about a scope at its close.
type End = (Ending, Option<u16>);

/// The endings of the scopes of a layer around this response.
async fn endings_of<B>(
    method: Method,
    make: impl Fn() -> Response<B> + Clone,
    read: impl AsyncFnOnce(Response<tower_user_scope::middleware::ResponseBody<B>>),
) -> Vec<End>
where
    B: Body<Data = Bytes>,
{
    let endings: Arc<Mutex<Vec<End>>> = Arc::default();
    let log = Arc::clone(&endings);
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| ())
        .on_close(move |closed| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let status = closed.status().map(|status| status.as_u16());
            log.push((closed.ending(), status));
        })
        .build()
        .expect("good");
    let inner = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(make())));
    let mut request = Request::new(());
    *request.method_mut() = method;
    let response = layer.layer(inner).oneshot(request).await;
    read(response.expect("infallible")).await;
    let endings = endings.lock().unwrap_or_else(PoisonError::into_inner);
    endings.clone()
}

/// Polls for this many frames and then calls `is_end_stream`, as servers do.
async fn poll_frames<B: Body>(count: usize, body: B) {
    let mut body = Box::pin(body);
    for _ in 0..count {
        let _ = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    }
    let _ = body.is_end_stream();
}

#[tokio::test]
async fn a_body_ends_as_its_last_frame_says() {
    use Ending::{Cancelled, Completed, Failed};
    use Part::{Data, Fails, Trailers};
    type Case = (&'static str, usize, Parts, Ending);
    let whole = || Parts::of(&[Data("all")]);
    let hinted = |len| Parts {
        hint: SizeHint::with_exact(len),
        ..whole()
    };
    let cases: [Case; 11] = [
        ("more may come", 1, whole(), Cancelled),
        ("it was polled to its end", 2, whole(), Completed),
        (
            "it says that it is at its end",
            1,
            Parts {
                says_end: true,
                ..whole()
            },
            Completed,
        ),
        ("its hint was as long", 1, hinted(3), Completed),
        ("its hint was longer", 1, hinted(4), Cancelled),
        (
            "its hint was longer, and it has ended",
            2,
            hinted(4),
            Failed,
        ),
        ("its hint was shorter", 1, hinted(2), Failed),
        (
            "trailers are the end",
            2,
            Parts::of(&[Data("all"), Trailers]),
            Completed,
        ),
        (
            "trailers are the end of a body that its hint said to be longer",
            2,
            Parts {
                hint: SizeHint::with_exact(4),
                ..Parts::of(&[Data("all"), Trailers])
            },
            Failed,
        ),
        (
            "it failed and then says that it is at its end",
            1,
            Parts {
                says_end: true,
                ..Parts::of(&[Fails])
            },
            Failed,
        ),
        (
            "it failed after the last byte that its hint told of",
            2,
            Parts {
                hint: SizeHint::with_exact(3),
                ..Parts::of(&[Data("all"), Fails])
            },
            Failed,
        ),
    ];
    for (what, frames, body, ending) in cases {
        let body = Arc::new(Mutex::new(Some(body)));
        let make = move || {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            Response::new(body.expect("asked once"))
        };
        let read = async |response: Response<_>| poll_frames(frames, response.into_body()).await;
        let endings = endings_of(Method::GET, make, read).await;
        assert_eq!(endings, [(ending, Some(200))], "{what}");
    }
}

#[tokio::test]
async fn a_response_is_whole_where_it_has_as_many_bytes_as_it_declares() {
    use Ending::{Cancelled, Completed, Failed};
    use Part::{Data, Trailers};
    type Case<'a> = (
        &'static str,
        &'a Method,
        u16,
        &'static str,
        &'a [Part],
        usize,
        Ending,
    );
    let (get, head) = (Method::GET, Method::HEAD);
    let hello: &[Part] = &[Data("he"), Data("llo")];
    let cases: [Case<'_>; 20] = [
        ("as declared", &get, 200, "5", hello, 2, Completed),
        ("as declared, read on", &get, 200, "5", hello, 3, Completed),
        (
            "an error that arrives is whole too",
            &get,
            500,
            "5",
            hello,
            2,
            Completed,
        ),
        ("the client went away", &get, 200, "5", hello, 1, Cancelled),
        ("less than declared", &get, 200, "10", hello, 3, Failed),
        (
            "less than declared, to be continued",
            &get,
            200,
            "10",
            hello,
            2,
            Cancelled,
        ),
        (
            "more than declared, in one frame",
            &get,
            200,
            "4",
            hello,
            2,
            Failed,
        ),
        (
            "more than declared, in another",
            &get,
            200,
            "2",
            hello,
            2,
            Failed,
        ),
        (
            "more than declared, not asked for",
            &get,
            200,
            "2",
            hello,
            1,
            Completed,
        ),
        (
            "nothing, where some was declared",
            &get,
            200,
            "5",
            &[],
            1,
            Failed,
        ),
        (
            "trailers before all was there",
            &get,
            200,
            "10",
            &[Data("hello"), Trailers],
            2,
            Failed,
        ),
        (
            "trailers after all was there",
            &get,
            200,
            "5",
            &[Data("hello"), Trailers],
            2,
            Completed,
        ),
        (
            "nothing declared and unread",
            &get,
            200,
            "0",
            &[],
            0,
            Completed,
        ),
        (
            "some, where nothing was declared",
            &get,
            200,
            "0",
            hello,
            1,
            Failed,
        ),
        (
            "HEAD declares another response's",
            &head,
            200,
            "10",
            &[],
            0,
            Completed,
        ),
        (
            "HEAD, and a server that polls",
            &head,
            200,
            "10",
            &[],
            1,
            Completed,
        ),
        ("204 has no body", &get, 204, "10", &[], 0, Completed),
        (
            "304 declares another response's",
            &get,
            304,
            "10",
            &[],
            1,
            Completed,
        ),
        (
            "a length with a sign is none",
            &get,
            200,
            "+10",
            hello,
            3,
            Completed,
        ),
        (
            "a list of lengths is none",
            &get,
            200,
            "10, 10",
            hello,
            3,
            Completed,
        ),
    ];
    for (what, method, status, length, parts, frames, ending) in cases {
        let make = || {
            let mut response = Response::new(Parts::of(parts));
            *response.status_mut() = status.try_into().expect("a status");
            let length = HeaderValue::from_static(length);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            response
        };
        let read = async |response: Response<tower_user_scope::middleware::ResponseBody<Parts>>| {
            let mut body = Box::pin(response.into_body());
            for _ in 0..frames {
                let _ = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            }
        };
        let endings = endings_of(method.clone(), make, read).await;
        assert_eq!(endings, [(ending, Some(status))], "{what}");
    }
}

#[tokio::test]
async fn a_body_that_says_before_any_poll_that_nothing_comes_is_whole_unless_it_declared_more() {
    use Ending::{Cancelled, Completed, Failed};
    type Ask = fn(&dyn Body<Data = Bytes, Error = BodyError>);
    let asks: [(&str, Ask); 2] = [
        ("is_end_stream", |body| assert!(body.is_end_stream())),
        ("size_hint", |body| {
            assert_eq!(body.size_hint().exact(), Some(0));
        }),
    ];
    for (asked, ask) in asks {
        for (length, ending) in [
            (None, Completed),
            (Some("0"), Completed),
            (Some("5"), Failed),
        ] {
            let make = || {
                let mut response = Response::new(Parts {
                    hint: SizeHint::with_exact(0),
                    says_end: true,
                    ..Parts::of(&[])
                });
                if let Some(length) = length {
                    let length = HeaderValue::from_static(length);
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length);
                }
                response
            };
            let read = async |response: Response<_>| ask(&response.into_body());
            let endings = endings_of(Method::GET, make, read).await;
            assert_eq!(endings, [(ending, Some(200))], "{asked} with {length:?}");
        }
    }
    let unasked = endings_of(
        Method::GET,
        || Response::new(Parts::of(&[])),
        async |response| drop(response),
    );
    assert_eq!(unasked.await, [(Cancelled, Some(200))], "nobody looked");
}

#[tokio::test]
async fn bodies_that_end_with_trailers_and_bodies_of_another_length_end_so_on_real_servers() {
    use Part::{Data, Trailers};
    for version in [Http::One, Http::Two] {
        let cases: [(&[Part], Option<&'static str>, Ending); 3] = [
            (&[Data("hello"), Trailers], None, Ending::Completed),
            (&[Data("hello")], Some("10"), Ending::Failed),
            (&[Data("hello")], Some("3"), Ending::Failed),
        ];
        for (parts, length, ending) in cases {
            let ended = served(version, Method::GET, length, || Parts::of(parts), |_| {}).await;
            assert_eq!(ended, ending, "{version:?} {parts:?} {length:?}");
        }
    }
}

/// A body that records the scope of each method that a server or a middleware may call.
struct Watchful {
    seen: Seen,
}

type Seen = Arc<Mutex<Vec<(&'static str, Option<String>)>>>;

impl Watchful {
    fn note(&self, what: &'static str) {
        let user = UserContext::current().and_then(|user| Some(user.user_id()?.to_string()));
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((what, user));
    }
}

impl Body for Watchful {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.note("poll_frame");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from("x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.note("is_end_stream");
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.note("size_hint");
        SizeHint::new()
    }
}

impl std::fmt::Debug for Watchful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note("fmt");
        f.write_str("Watchful")
    }
}

impl Drop for Watchful {
    fn drop(&mut self) {
        self.note("drop");
    }
}

#[tokio::test]
async fn every_method_of_a_body_is_called_in_its_own_scope() {
    for (method, status) in [
        (Method::GET, 200),
        (Method::HEAD, 200),
        // The response's body may be the tunnel.
        (Method::CONNECT, 200),
        (Method::GET, 101),
    ] {
        for with_factory in [true, false] {
            let seen = Seen::default();
            let of_body = Arc::clone(&seen);
            let inner = service_fn(move |_: Request<()>| {
                let seen = Arc::clone(&of_body);
                let mut response = Response::new(Watchful { seen });
                *response.status_mut() = status.try_into().expect("a status");
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let mut request = Request::new(());
            *request.method_mut() = method.clone();
            let builder = UserScopeLayer::builder().strategy(alice());
            let response = if with_factory {
                let layer = builder.factory(|_| "factory").build().expect("good");
                layer.layer(inner).oneshot(request).await
            } else {
                let layer = builder.context_only().build().expect("good");
                layer.layer(inner).oneshot(request).await
            };
            // Another user's request may be polled on this thread in the meantime.
            let id = UserId::try_from("bob").expect("an id");
            let bob = UserContext::builder(Identity::proved(id)).build();
            async move {
                let mut body = Box::pin(response.expect("infallible").into_body());
                let _ = (body.is_end_stream(), body.size_hint(), format!("{body:?}"));
                let _ = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
                drop(body);
                let current = UserContext::current().expect("a scope");
                assert_eq!(current.user_id().map(UserId::as_str), Some("bob"));
            }
            .in_scope(bob)
            .await;
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for what in ["is_end_stream", "size_hint", "fmt", "poll_frame", "drop"] {
                assert!(seen.iter().any(|(of, _)| *of == what), "{what} of {method}");
            }
            for (what, user) in seen.iter() {
                assert_eq!(
                    user.as_deref(),
                    Some("alice"),
                    "{what} of {method} {status}"
                );
            }
        }
    }
}

/// A body that panics in each of its methods.
struct Panicky;

impl Body for Panicky {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        panic!("planted in is_end_stream")
    }

    fn size_hint(&self) -> SizeHint {
        panic!("planted in size_hint")
    }
}

#[tokio::test]
async fn a_body_that_panics_in_a_question_has_panicked_whatever_comes_after() {
    let asks: [fn(&dyn Body<Data = Bytes, Error = BodyError>); 2] = [
        |body| assert!(body.is_end_stream()),
        |body| assert!(body.size_hint().exact().is_some()),
    ];
    for ask in asks {
        let read =
            async |response: Response<tower_user_scope::middleware::ResponseBody<Panicky>>| {
                let body = response.into_body();
                let asked = catch_unwind(AssertUnwindSafe(|| ask(&body)));
                assert!(asked.is_err(), "it panics");
                assert_eq!(UserContext::current(), None, "and its scope is left");
            };
        let endings = endings_of(Method::GET, || Response::new(Panicky), read).await;
        assert_eq!(endings, [(Ending::Panicked, Some(200))]);
    }
}

#[tokio::test]
async fn a_body_that_another_panic_drops_was_cancelled() {
    let read = async |response: Response<tower_user_scope::middleware::ResponseBody<Parts>>| {
        let of_somebody_else = catch_unwind(AssertUnwindSafe(move || {
            let _held = response;
            panic!("planted beside the body");
        }));
        assert!(of_somebody_else.is_err());
    };
    let make = || Response::new(Parts::of(&[Part::Data("hello")]));
    let endings = endings_of(Method::GET, make, read).await;
    assert_eq!(
        endings,
        [(Ending::Cancelled, Some(200))],
        "it did not panic itself"
    );
}

#[tokio::test]
async fn a_scope_without_a_response_has_no_status() {
    let endings: Arc<Mutex<Vec<End>>> = Arc::default();
    let log = Arc::clone(&endings);
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .context_only()
        .on_close(move |closed| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push((
                closed.ending(),
                closed.status().map(|status| status.as_u16()),
            ));
        })
        .build()
        .expect("good");
    let fails = service_fn(async |_: Request<()>| Err::<Response<Empty<Bytes>>, _>("planted"));
    let failed = layer.layer(fails).oneshot(Request::new(())).await;
    assert!(failed.is_err());
    let waits = service_fn(async |_: Request<()>| {
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
    });
    let mut gone = Box::pin(layer.layer(waits).oneshot(Request::new(())));
    assert!(futures::poll!(&mut gone).is_pending());
    drop(gone);
    let endings = endings.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(
        *endings,
        [(Ending::Failed, None), (Ending::Cancelled, None)]
    );
}

/// Uses the factory when it is dropped, as a transaction's guard does.
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

fn alice() -> impl tower_user_scope::strategy::Strategy<Future: Send> {
    from_fn(CredentialSource::predicate(|_| true), |_| {
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
    // The handler, the body, and work with the scope: each is dropped before its end.
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
async fn synchronous_steps_run_in_the_users_scope_too() {
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

/// A future that is ready at the second poll and holds a value until it is dropped.
struct Holding<T, H> {
    answer: Option<T>,
    polled: bool,
    _held: H,
}

impl<T, H> Holding<T, H> {
    fn new(answer: T, held: H) -> Self {
        Self {
            answer: Some(answer),
            polled: false,
            _held: held,
        }
    }
}

impl<T: Unpin, H: Unpin> Future for Holding<T, H> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if self.polled {
            return Poll::Ready(self.answer.take().expect("polled once more"));
        }
        self.polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Records the user of the scope that it is dropped in.
struct DroppedIn(Arc<Mutex<Vec<Option<String>>>>);

impl Drop for DroppedIn {
    fn drop(&mut self) {
        let user = UserContext::current().and_then(|user| Some(user.user_id()?.to_string()));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(user);
    }
}

#[tokio::test]
async fn what_finished_work_still_holds_is_dropped_in_its_scope() {
    let dropped: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let taken = || std::mem::take(&mut *dropped.lock().unwrap_or_else(PoisonError::into_inner));
    let alices = Some("alice".to_owned());

    // The inner service's future, which already has the response.
    let of_call = Arc::clone(&dropped);
    let inner = service_fn(move |_: Request<()>| {
        let response = Response::new(Empty::<Bytes>::new());
        Holding::new(
            Ok::<_, Infallible>(response),
            DroppedIn(Arc::clone(&of_call)),
        )
    });
    let layer = UserScopeLayer::builder()
        .strategy(alice())
        .context_only()
        .build()
        .expect("good");
    let mut service = layer.layer(inner);
    let mut call = Box::pin(tower::Service::call(&mut service, Request::new(())));
    let response = call.as_mut().await.expect("infallible");
    assert_eq!(
        taken(),
        std::slice::from_ref(&alices),
        "before the response is out"
    );
    drop((call, response));

    // Work with a scope that is kept after it is done.
    let id = UserId::try_from("alice").expect("an id");
    let context = UserContext::builder(Identity::proved(id)).build();
    let mut work = Box::pin(Holding::new((), DroppedIn(Arc::clone(&dropped))).in_scope(context));
    work.as_mut().await;
    drop(work);
    assert_eq!(taken(), [alices], "whenever that is dropped");
}

#[tokio::test]
async fn the_resolution_future_is_dropped_before_the_inner_service_begins() {
    let held = Arc::new(());
    let (of_strategy, of_authorize, of_factory) = (held.clone(), held.clone(), held.clone());
    let layer = UserScopeLayer::builder()
        .strategy(tower_user_scope::from_async_fn(
            CredentialSource::predicate(|_| true),
            move |_| {
                let id = UserId::try_from("alice").expect("an id");
                Holding::new(Outcome::from(Identity::proved(id)), of_strategy.clone())
            },
        ))
        .authorize_async(move |_, _| Holding::new(Ok(()), of_authorize.clone()))
        .factory_async(move |_| Holding::new(Ok::<_, Infallible>(()), of_factory.clone()))
        .build()
        .expect("good");
    let inner = service_fn(move |_: Request<()>| {
        // One handle here and one in each closure.
        assert_eq!(
            Arc::strong_count(&held),
            4,
            "no future of the three is left"
        );
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    assert!(response.expect("infallible").status().is_success());
}
