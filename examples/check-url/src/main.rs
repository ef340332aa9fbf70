//! Checks a service that is running for leaks between two of its users, over HTTP:
//!
//! ```sh
//! cargo run -p check-url-example -- http://127.0.0.1:3000 examples/check-url/scenario.toml
//! ```
//!
//! The file has two log-ins, what belongs to whom, and a list of requests. The service can be in any
//! language. It is not started anew for each run, so what a user's own requests leave behind differs
//! from run to run, and is not compared. Without arguments, the example starts a service with two
//! bugs and checks that.

mod leaky;
mod scenario;

use std::{error::Error, process::ExitCode};

use http::{Request, Uri};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::ServiceBuilder;
use tower_user_scope::testing::{Client, IsolationReport, TestBody};

use self::scenario::Scenario;

/// The file that goes with the service of this example.
const OF_THIS_EXAMPLE: &str = include_str!("../scenario.toml");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--once")
        .collect();
    match &arguments[..] {
        [url, file] => {
            let scenario = Scenario::parse(&std::fs::read_to_string(file)?)?;
            let report = check(url.parse()?, &scenario).await?;
            println!("{report}");
            Ok(ExitCode::from(u8::from(!report.findings().is_empty())))
        }
        [] => check_leaky_service().await.map(|()| ExitCode::SUCCESS),
        _ => Err("usage: check-url-example URL SCENARIO.toml".into()),
    }
}

/// Plays the scenario against the service at this address.
async fn check(url: Uri, scenario: &Scenario) -> Result<IsolationReport, Box<dyn Error>> {
    let (scheme, authority) = match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) => ("http", authority.clone()),
        _ => return Err(format!("{url} is no http:// address").into()),
    };
    let at_url = move |request: Request<TestBody>| {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = Uri::builder()
            .scheme(scheme)
            .authority(authority.clone())
            .path_and_query(path)
            .build()
            .unwrap_or_default();
        Request::from_parts(head, body)
    };
    let client: HttpClient<HttpConnector, TestBody> =
        HttpClient::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new().map_request(at_url).service(client);
    let report = scenario
        .check()
        .run(
            async || service.clone(),
            async |client: Client| scenario.play(&client).await,
        )
        .await;
    Ok(report)
}

/// Checks a service that is known to leak.
async fn check_leaky_service() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?).parse()?;
    let server = tokio::spawn(async move { axum::serve(listener, leaky::app()).await });
    let report = check(url, &Scenario::parse(OF_THIS_EXAMPLE)?).await?;
    server.abort();
    println!("{report}");
    for expected in ["/orders/17", "/me"] {
        let mut places = report
            .findings()
            .iter()
            .filter_map(|finding| finding.location());
        if !places.any(|location| location.request().ends_with(expected)) {
            return Err(format!("the leak at {expected} was not found").into());
        }
    }
    Ok(())
}
