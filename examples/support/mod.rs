//! What the HTTP examples have in common: a table of requests that are sent to the example's own
//! server over TCP, and `--once`.

use std::{error::Error, future::Future, net::SocketAddr, pin::pin};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// What every request carries beside the rest, as from a proxy that a real service keeps it for.
///
/// The address alone is not enough here: a proxy on the same machine that passes headers on makes
/// each of its clients come from `127.0.0.1`.
pub(crate) const PROXY_SECRET: &str = "the-secret-of-the-examples-proxy";

/// One GET request, and what has to come back.
pub(crate) struct Case<'a> {
    what: &'static str,
    path: &'static str,
    headers: &'a [(&'a str, &'a str)],
    /// The body of a 200, or another status.
    expected: Result<&'static str, StatusCode>,
}

impl<'a> Case<'a> {
    pub(crate) const fn get(
        what: &'static str,
        path: &'static str,
        headers: &'a [(&'a str, &'a str)],
        expected: Result<&'static str, StatusCode>,
    ) -> Self {
        Self {
            what,
            path,
            headers,
            expected,
        }
    }
}

/// Serves, sends each request meanwhile, and prints a row for it. Then ends with `--once`, or
/// prints what to type and goes on serving.
///
/// An answer that is not the expected one is an error, so that the program fails.
pub(crate) async fn serve_and_ask<E>(
    address: SocketAddr,
    server: impl Future<Output = Result<(), E>>,
    cases: &[Case<'_>],
) -> Result<(), Box<dyn Error>>
where
    E: Into<Box<dyn Error>>,
{
    let mut server = pin!(server);
    tokio::select! {
        ended = &mut server => {
            ended.map_err(Into::into)?;
            return Err("the server ended before every request was answered".into());
        }
        asked = ask_all(address, cases) => asked?,
    }
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    println!("\nServing on http://{address} until Ctrl-C. Try:\n");
    for case in cases {
        println!("  {}", curl(address, case));
    }
    server.await.map_err(Into::into)
}

async fn ask_all(address: SocketAddr, cases: &[Case<'_>]) -> Result<(), Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut unexpected = 0;
    for case in cases {
        let mut request = Request::get(format!("http://{address}{}", case.path))
            .header("x-proxy-secret", PROXY_SECRET);
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        let response = client.request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        let (answer, as_expected) = match case.expected {
            Ok(expected) => (&*body, status == StatusCode::OK && body == expected),
            Err(expected) => (
                status.canonical_reason().unwrap_or_default(),
                status == expected,
            ),
        };
        println!("{:<46} {} {answer}", case.what, status.as_u16());
        if !as_expected {
            println!("  ^ expected {:?}, got {body:?}", case.expected);
            unexpected += 1;
        }
    }
    match unexpected {
        0 => Ok(()),
        count => Err(format!("{count} answers are not as expected").into()),
    }
}

fn curl(address: SocketAddr, case: &Case<'_>) -> String {
    let headers: String = case
        .headers
        .iter()
        .flat_map(|(name, value)| ["-H '", name, ": ", value, "' "])
        .collect();
    format!(
        "curl -i -H 'x-proxy-secret: {PROXY_SECRET}' {headers}http://{address}{}",
        case.path
    )
}
