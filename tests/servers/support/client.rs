//! One client for all servers, which sends the same request in each server's protocol.

use std::net::SocketAddr;

use ::tonic::{metadata::MetadataMap, transport::Channel};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::{
    Answer, Refusal, Seen, bare,
    tonic::whoami::{Question, who_am_i_client::WhoAmIClient},
};

/// The number of messages of a stream.
pub(super) const STREAMED: u32 = 3;

/// The request to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) headers: HeaderMap,
    /// Over HTTP only.
    pub(crate) query: Option<String>,
    /// Over HTTP only.
    pub(crate) body: Bytes,
}

impl Sent {
    pub(crate) fn with<V: AsRef<[u8]>>(headers: &[(&'static str, V)]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_ref()).expect("a header's value");
            (HeaderName::from_static(name), value)
        });
        let mut sent = Self::default();
        for (name, value) in headers {
            sent.headers.append(name, value);
        }
        sent
    }

    fn to_http(&self, origin: &str) -> Request<Full<Bytes>> {
        let query = self.query.as_deref().map(|query| format!("?{query}"));
        let mut request = Request::post(format!("{origin}/{}", query.unwrap_or_default()))
            .body(Full::new(self.body.clone()))
            .expect("a request");
        *request.headers_mut() = self.headers.clone();
        request
    }

    pub(crate) fn to_grpc(&self, times: u32) -> ::tonic::Request<Question> {
        let metadata = MetadataMap::from_headers(self.headers.clone());
        ::tonic::Request::from_parts(metadata, http::Extensions::new(), Question { times })
    }
}

/// One connection to a server.
pub(crate) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>, SocketAddr),
    Http2(http2::SendRequest<Full<Bytes>>, SocketAddr),
    Grpc(WhoAmIClient<Channel>),
    GrpcStreaming(WhoAmIClient<Channel>),
    Bare(bare::Stack),
}

impl Client {
    pub(super) async fn http1(address: SocketAddr) -> Self {
        let (sender, connection) = http1::handshake(connect(address).await)
            .await
            .expect("an HTTP/1.1 connection");
        tokio::spawn(connection);
        Self::Http1(sender, address)
    }

    pub(super) async fn http2(address: SocketAddr) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), connect(address).await)
            .await
            .expect("an HTTP/2 connection");
        tokio::spawn(connection);
        Self::Http2(sender, address)
    }

    pub(super) async fn grpc(address: SocketAddr) -> WhoAmIClient<Channel> {
        WhoAmIClient::connect(format!("http://{address}"))
            .await
            .expect("a gRPC connection")
    }

    /// Returns a handle of the same connection, for a request at the same time.
    pub(crate) fn another_stream(&self) -> Self {
        match self {
            Self::Http1(..) => unreachable!("HTTP/1.1 has one request at a time"),
            Self::Http2(sender, address) => Self::Http2(sender.clone(), *address),
            Self::Grpc(client) => Self::Grpc(client.clone()),
            Self::GrpcStreaming(client) => Self::GrpcStreaming(client.clone()),
            Self::Bare(stack) => Self::Bare(stack.clone()),
        }
    }

    /// Sends one request and reads the response to its end.
    pub(crate) async fn ask(&mut self, sent: &Sent) -> Answer {
        match self {
            Self::Http1(sender, address) => {
                let mut request = sent.to_http("");
                let host = HeaderValue::try_from(address.to_string()).expect("an address");
                request.headers_mut().insert(header::HOST, host);
                sender.ready().await.expect("the connection is still open");
                let response = sender.send_request(request).await;
                over_http(response.expect("an answer")).await
            }
            Self::Http2(sender, address) => {
                let request = sent.to_http(&format!("http://{address}"));
                sender.ready().await.expect("the connection is still open");
                let response = sender.send_request(request).await;
                over_http(response.expect("an answer")).await
            }
            Self::Bare(stack) => {
                let response = stack.clone().oneshot(sent.to_http("")).await;
                over_http(response.expect("the handler has its scope")).await
            }
            Self::Grpc(client) => match client.ask(sent.to_grpc(1)).await {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) => Err(Refusal::Grpc(status.code())),
            },
            Self::GrpcStreaming(client) => {
                let refused = |status: ::tonic::Status| Refusal::Grpc(status.code());
                let answer = client
                    .watch(sent.to_grpc(STREAMED))
                    .await
                    .map_err(refused)?;
                let mut answers = answer.into_inner();
                let mut seen = Vec::new();
                while let Some(next) = answers.message().await.map_err(refused)? {
                    seen.push(next);
                }
                assert_eq!(
                    seen.len(),
                    STREAMED as usize,
                    "every answer of the stream arrives"
                );
                assert!(
                    seen.iter().all(|next| *next == seen[0]),
                    "a stream has one user, from its beginning to its end: {seen:?}"
                );
                Ok(seen.swap_remove(0))
            }
        }
    }
}

async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    // Otherwise a small request waits for the acknowledgement of the one before.
    stream.set_nodelay(true).expect("a TCP connection");
    TokioIo::new(stream)
}

/// Reads a response and checks the form of a refusal.
async fn over_http<B>(response: Response<B>) -> Answer
where
    B: Body<Error: std::fmt::Debug>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("the body of the answer");
    if head.status == StatusCode::OK {
        return Ok(Seen::decode(body.to_bytes()).expect("what the handler saw"));
    }
    check_problem(head.status, &head.headers, &body.to_bytes());
    Err(Refusal::Http(head.status))
}

/// Checks that a refusal is an RFC 9457 problem that is not cached, and that a 401 has a challenge.
pub(crate) fn check_problem(status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(
        value(header::CONTENT_TYPE),
        Some("application/problem+json"),
        "a refusal with {status} says why"
    );
    assert_eq!(
        value(header::CACHE_CONTROL),
        Some("no-store"),
        "a refusal with {status} is for nobody else"
    );
    assert_eq!(
        headers.contains_key(header::WWW_AUTHENTICATE),
        status == StatusCode::UNAUTHORIZED,
        "a challenge belongs to 401, and only there; this is {status}"
    );
    let problem: serde_json::Value = serde_json::from_slice(body).expect("a problem in JSON");
    assert_eq!(
        problem["status"],
        status.as_u16(),
        "the body names its status"
    );
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "the body says in words what is wrong: {problem}"
    );
}
