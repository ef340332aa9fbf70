//! Real gRPC clients read the right status of a refused request, in each protocol and wherever gRPC-Web
//! is translated.
//!
//! tonic's clients are tested here. Those of other languages are programs in `grpc_clients/`:
//! `.ci/grpc-clients` installs their dependencies, sets `GRPC_CLIENTS` to the folder, and runs this.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, stream};
use http::{HeaderValue, Uri};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::Deserialize;
use tokio::{net::TcpListener, process::Command};
use tonic::{
    Code, Request, Response, Status, async_trait,
    body::Body,
    metadata::MetadataMap,
    server::NamedService,
    transport::{
        Channel,
        server::{Server, TcpIncoming},
    },
};
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::{Service, ServiceBuilder};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, InvalidError, Outcome, Scoped, UnavailableError, UserContext,
    UserId, UserScopeExt, UserScopeLayer,
    authorize::{Authorize, ForbiddenError},
    factory::ProvideFactory,
    from_fn,
    middleware::StrategyList,
    strategy::InvalidErrorKind,
};

use crate::support::{
    Sent, soon,
    tonic::whoami::{
        Question, Seen, Whose,
        who_am_i_client::WhoAmIClient,
        who_am_i_server::{WhoAmI, WhoAmIServer},
    },
};

/// A request's key, its result, and the gRPC code of that result.
const CASES: [(&str, Code); 6] = [
    ("", Code::Unauthenticated),
    ("malformed", Code::InvalidArgument),
    ("forbidden", Code::PermissionDenied),
    ("down", Code::Unavailable),
    ("no-factory", Code::Internal),
    ("good", Code::Ok),
];

fn layer() -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static,
    impl Authorize<Future: Send> + Send + Sync + 'static,
> {
    let is = |context: &UserContext, name: &str| context.user_id().is_some_and(|id| *id == *name);
    UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::header("x-key"),
            |head| match head.headers.get("x-key").map(HeaderValue::as_bytes) {
                None | Some(b"") => Outcome::Absent,
                Some(b"malformed") => InvalidError::new(InvalidErrorKind::Malformed).into(),
                Some(b"down") => UnavailableError::new(std::io::Error::other("planted")).into(),
                Some(key) => match UserId::try_from(String::from_utf8_lossy(key).into_owned()) {
                    Ok(id) => Identity::proved(id).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
            },
        ))
        .authorize(move |context, _| {
            if is(context, "forbidden") {
                return Err(ForbiddenError::new("planted").into());
            }
            Ok(())
        })
        .try_factory(move |context| {
            if is(context, "no-factory") {
                return Err("planted");
            }
            Ok(context.user_id().map(ToString::to_string))
        })
        .build()
        .expect("a valid configuration")
}

struct Handler;

impl Handler {
    fn look<T>(request: &Request<T>) -> Result<Seen, Status> {
        let who: &Scoped<Option<String>> = request.scoped()?;
        let context = Some(Whose {
            who: Option::clone(who).unwrap_or_default(),
            ..Whose::default()
        });
        Ok(Seen {
            context,
            ..Seen::default()
        })
    }
}

#[async_trait]
impl WhoAmI for Handler {
    async fn ask(&self, request: Request<Question>) -> Result<Response<Seen>, Status> {
        Self::look(&request).map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Seen, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Question>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let looks = stream::iter([Self::look(&request), Self::look(&request)]);
        Ok(Response::new(Box::pin(looks)))
    }
}

/// The place of the layer in the stack.
#[derive(Clone, Copy, Debug)]
enum Stands {
    /// The only layer, for gRPC over HTTP/2.
    Alone,
    /// Inside of the layer that translates gRPC-Web.
    InsideWeb,
    /// Outside of that layer: gRPC-Web requests reach the layer untranslated.
    OutsideWeb,
    /// Around one of the two services.
    AroundOneService,
}

impl Stands {
    async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let (server, service) = (Server::builder(), WhoAmIServer::new(Handler));
        let (mut web, layer) = (Server::builder().accept_http1(true), layer());
        tokio::spawn(async move {
            let ended = match self {
                Self::Alone => {
                    let mut server = server.layer(layer);
                    server
                        .add_service(service)
                        .serve_with_incoming(incoming)
                        .await
                }
                Self::InsideWeb => {
                    let mut server = web.layer(GrpcWebLayer::new()).layer(layer);
                    server
                        .add_service(service)
                        .serve_with_incoming(incoming)
                        .await
                }
                Self::OutsideWeb => {
                    let mut server = web.layer(layer).layer(GrpcWebLayer::new());
                    server
                        .add_service(service)
                        .serve_with_incoming(incoming)
                        .await
                }
                Self::AroundOneService => {
                    let router = web.add_service(layer.layer(service)).add_service(Open);
                    router.serve_with_incoming(incoming).await
                }
            };
            ended.expect("tonic serves");
        });
        address
    }
}

/// A service that anonymous callers may use.
#[derive(Clone)]
struct Open;

impl NamedService for Open {
    const NAME: &'static str = "whoami.Open";
}

impl Service<http::Request<Body>> for Open {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(Status::already_exists("open").into_http()))
    }
}

fn request(key: &str) -> Request<Question> {
    let metadata = MetadataMap::from_headers(Sent::with(&[("x-key", key)]).headers);
    Request::from_parts(metadata, http::Extensions::new(), Question::default())
}

/// The user that the service sees, or the error.
fn read(answer: Result<Response<Seen>, Status>) -> (Code, String) {
    match answer {
        Ok(seen) => {
            let whose = seen.into_inner().context.expect("somebody");
            (Code::Ok, whose.who)
        }
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URI");
    endpoint.connect().await.expect("a connection")
}

#[tokio::test]
async fn tonics_client_reads_each_refusal() {
    for stands in [Stands::Alone, Stands::InsideWeb, Stands::OutsideWeb] {
        let mut client = WhoAmIClient::new(channel(stands.start().await).await);
        for (key, code) in CASES {
            let name = format!("{key:?}, {stands:?}");
            let (read, text) = read(soon("an answer", client.ask(request(key))).await);
            assert_eq!(read, code, "{name}: {text}");
            assert!(!text.is_empty(), "{name} has a message, or a user");
            let streamed = soon("an answer", client.watch(request(key))).await;
            let streamed = streamed.map_or_else(|status| status.code(), |_| Code::Ok);
            assert_eq!(streamed, code, "{name}, for a stream");
        }
    }
}

#[tokio::test]
async fn tonics_grpc_web_client_reads_each_refusal_over_http_1() {
    for stands in [Stands::InsideWeb, Stands::OutsideWeb] {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let service = ServiceBuilder::new()
            .layer(GrpcWebClientLayer::new())
            .service(http);
        let origin: Uri = format!("http://{}", stands.start().await)
            .parse()
            .expect("a URI");
        let mut client = WhoAmIClient::with_origin(service, origin);
        for (key, code) in CASES {
            let (read, text) = read(soon("an answer", client.ask(request(key))).await);
            assert_eq!(read, code, "{key:?}, {stands:?}: {text}");
        }
    }
}

#[tokio::test]
async fn a_layer_can_be_around_one_service_of_a_server() {
    let channel = channel(Stands::AroundOneService.start().await).await;
    let mut client = WhoAmIClient::new(channel.clone());
    for (key, code) in CASES {
        let (read, text) = read(soon("an answer", client.ask(request(key))).await);
        assert_eq!(read, code, "{key:?}: {text}");
    }
    let mut open = tonic::client::Grpc::new(channel);
    open.ready().await.expect("an open connection");
    let path = "/whoami.Open/Ask".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<Question, Seen>::default();
    let answer = soon("an answer", open.unary(request(""), path, codec)).await;
    assert_eq!(
        read(answer),
        (Code::AlreadyExists, "open".to_owned()),
        "the other service answers anybody"
    );
}

/// The line that a client of another language prints for each request.
#[derive(Deserialize)]
struct Line {
    client: String,
    key: String,
    code: i32,
    message: String,
}

/// A client's result for each case.
type Reading = BTreeMap<String, (i32, String)>;

struct Clients(PathBuf);

impl Clients {
    /// Runs a client program with the addresses of the servers.
    async fn run(
        &self,
        mut program: Command,
        file: &str,
        addresses: &[SocketAddr],
    ) -> BTreeMap<String, Reading> {
        let keys = CASES.map(|(key, _)| key).join(",");
        program.arg(file).arg(keys).current_dir(&self.0);
        program.args(addresses.iter().map(ToString::to_string));
        let output = soon(file, program.kill_on_drop(true).output()).await;
        let output = output.expect("the program is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {errors}");
        let mut readings: BTreeMap<String, Reading> = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: Line = serde_json::from_str(line).expect("a line for each request");
            let reading = readings.entry(line.client).or_default();
            reading.insert(line.key, (line.code, line.message));
        }
        readings
    }
}

/// The source of a refusal's code in a client.
#[derive(Clone, Copy, Debug)]
enum Takes {
    GrpcStatus,
    /// The HTTP status, in the table of gRPC's `http-grpc-status-mapping.md`.
    HttpStatus,
    /// The HTTP status, in the table of the npm package `grpc-web`.
    HttpStatusAsWeb,
}

impl Takes {
    fn reads(self, code: Code) -> Code {
        match (self, code) {
            (Self::HttpStatus, Code::InvalidArgument) => Code::Internal,
            (Self::HttpStatus | Self::HttpStatusAsWeb, Code::Internal) => Code::Unknown,
            _ => code,
        }
    }
}

#[tokio::test]
async fn clients_of_other_languages_read_each_refusal() {
    use Takes::{GrpcStatus, HttpStatus, HttpStatusAsWeb};

    let Some(installed) = std::env::var_os("GRPC_CLIENTS") else {
        eprintln!("not run: `.ci/grpc-clients` installs the clients and runs this");
        return;
    };
    let clients = Clients(installed.into());
    let alone = Stands::Alone.start().await;
    let inside = Stands::InsideWeb.start().await;
    let outside = Stands::OutsideWeb.start().await;
    let python = Command::new(clients.0.join("venv/bin/python"));
    let mut readings = clients.run(python, "client.py", &[alone]).await;
    let addresses = [alone, inside, outside];
    readings.extend(
        clients
            .run(Command::new("node"), "client.mjs", &addresses)
            .await,
    );
    let expected = [
        ("grpcio", GrpcStatus),
        ("grpc-js", GrpcStatus),
        ("connect-node, gRPC", HttpStatus),
        // The layer is inside of tonic-web's layer.
        ("grpc-web, binary, inside", HttpStatusAsWeb),
        ("grpc-web, text, inside", HttpStatusAsWeb),
        ("improbable-eng/grpc-web, inside", GrpcStatus),
        ("connect-node, gRPC-Web, inside", HttpStatus),
        // The layer is outside of it, so clients get the layer's own response.
        ("grpc-web, binary, outside", GrpcStatus),
        ("grpc-web, text, outside", GrpcStatus),
        ("improbable-eng/grpc-web, outside", GrpcStatus),
        ("connect-node, gRPC-Web, outside", HttpStatus),
    ];
    assert_eq!(readings.len(), expected.len(), "{:?}", readings.keys());
    for (client, takes) in expected {
        for (key, code) in CASES {
            let (read, message) = &readings[client][key];
            let name = format!("{client}, {key:?}: {message}");
            assert_eq!(Code::from(*read), takes.reads(code), "{name}");
        }
        if matches!(takes, GrpcStatus) {
            let (_, message) = &readings[client][""];
            assert_eq!(message, "no credential that is accepted here", "{client}");
        }
    }
}
