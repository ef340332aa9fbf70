//! A tonic server under the same layer: who calls is in the metadata, a refusal is a gRPC status.
//!
//! tonic itself inserts the peer's address. `greeter.rs` is what `tonic-prost-build` makes of
//! `greeter.proto`; it is checked in so that nobody needs `protoc`.

use std::{
    error::Error,
    net::SocketAddr,
    pin::{Pin, pin},
};

use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, transport::Server};
use tower_user_scope::{
    TrustedHeader, UserId, UserScopeExt, UserScopeLayer, context::UserRequiredError,
};

use self::greeter::{
    GreetRepeatedlyRequest, GreetRequest, Greeting,
    greeter_client::GreeterClient,
    greeter_server::{Greeter, GreeterServer},
};

#[allow(
    warnings,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod greeter {
    include!("greeter.rs");
}

/// The address alone is not enough: a proxy on the same machine that passes metadata on makes
/// each of its clients come from `127.0.0.1`.
const SECRET: &str = "the-secret-of-the-examples-proxy";

/// What each call gets.
struct Phrasebook {
    user_id: UserId,
}

impl Phrasebook {
    fn greeting(&self) -> Greeting {
        Greeting {
            text: format!("hello, {}", self.user_id),
        }
    }
}

/// The service keeps nothing of any user.
struct Greetings;

#[tonic::async_trait]
impl Greeter for Greetings {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(request.scoped::<Phrasebook>()?.greeting()))
    }

    type GreetRepeatedlyStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet_repeatedly(
        &self,
        request: Request<GreetRepeatedlyRequest>,
    ) -> Result<Response<Self::GreetRepeatedlyStream>, Status> {
        // A clone of the handle: the factory lives as long as the stream does.
        let phrases = request.scoped::<Phrasebook>()?.clone();
        let times = request.into_inner().times;
        let greetings = (0..times).map(move |_| Ok(phrases.greeting()));
        Ok(Response::new(Box::pin(tokio_stream::iter(greetings))))
    }
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let user_scope = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-proxy-secret", SECRET),
        )
        .try_factory(|context| {
            let user_id = context.require_user()?.clone();
            Ok::<_, UserRequiredError>(Phrasebook { user_id })
        })
        .build()?;
    Server::builder()
        .layer(user_scope)
        .add_service(GreeterServer::new(Greetings))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

/// Whose ids are in the metadata, and the text or the status that has to come back.
const CALLS: &[(&str, &[&str], Result<&str, Code>)] = &[
    ("alice", &["alice"], Ok("hello, alice")),
    ("nobody", &[], Err(Code::Unauthenticated)),
    ("two ids", &["alice", "bob"], Err(Code::InvalidArgument)),
    ("a placeholder", &["undefined"], Err(Code::InvalidArgument)),
];

async fn call_all(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut client = GreeterClient::connect(format!("http://{address}")).await?;
    let mut unexpected = 0;
    for (what, ids, expected) in CALLS {
        let answer = client.greet(with_ids(GreetRequest {}, ids)?).await;
        let answer = answer.map(|greeting| greeting.into_inner().text);
        match &answer {
            Ok(text) => println!("{what:<16} {text}"),
            Err(status) => println!("{what:<16} {:?}: {}", status.code(), status.message()),
        }
        if answer.as_deref().map_err(Status::code) != *expected {
            println!("  ^ expected {expected:?}");
            unexpected += 1;
        }
    }

    let request = with_ids(GreetRepeatedlyRequest { times: 3 }, &["bob"])?;
    let greetings = client.greet_repeatedly(request).await?.into_inner();
    let texts: Vec<String> = greetings
        .map(|greeting| greeting.map(|greeting| greeting.text))
        .collect::<Result<_, _>>()
        .await?;
    println!("{:<16} {}", "bob, streaming", texts.join("; "));
    if texts != ["hello, bob"; 3] {
        unexpected += 1;
    }
    match unexpected {
        0 => Ok(()),
        count => Err(format!("{count} answers are not as expected").into()),
    }
}

fn with_ids<T>(message: T, ids: &[&str]) -> Result<Request<T>, Box<dyn Error>> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-proxy-secret", SECRET.parse()?);
    for id in ids {
        request.metadata_mut().append("x-user-id", id.parse()?);
    }
    Ok(request)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut server = pin!(serve(listener));
    tokio::select! {
        ended = &mut server => {
            ended?;
            return Err("the server ended before every call was answered".into());
        }
        called = call_all(address) => called?,
    }
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    println!(
        "\nServing on {address} until Ctrl-C. With grpcurl, from this crate's folder:\n\n\
         \x20 grpcurl -plaintext -proto examples/grpc/src/greeter.proto -H 'x-user-id: alice' -H 'x-proxy-secret: {SECRET}' \
         {address} greeter.Greeter/Greet\n\
         \x20 grpcurl -plaintext -proto examples/grpc/src/greeter.proto -H 'x-user-id: alice' -H 'x-proxy-secret: {SECRET}' \
         -d '{{\"times\": 3}}' {address} greeter.Greeter/GreetRepeatedly\n\
         \x20 grpcurl -plaintext -proto examples/grpc/src/greeter.proto {address} \
         greeter.Greeter/Greet"
    );
    server.await
}
