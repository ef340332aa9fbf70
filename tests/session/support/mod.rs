//! Code that the session tests share: the layer's result as a value, stores that can be observed and
//! broken, and servers of Redis and `PostgreSQL` that can be killed.

#![allow(dead_code, reason = "each test file uses its own part of it")]

#[path = "../../core/answered.rs"]
mod answered;
pub(crate) mod processes;
pub(crate) mod servers;
pub(crate) mod store;
pub(crate) mod verdict;

use std::time::Duration;

use http::{Request, header};

#[allow(unused_imports, reason = "each test file uses its own part of it")]
pub(crate) use self::answered::{Answered, Inner, send};

/// A request with these `Cookie` lines.
pub(crate) fn with_cookies<T: AsRef<[u8]>>(lines: impl IntoIterator<Item = T>) -> Request<()> {
    let mut request = Request::new(());
    for line in lines {
        let line = line.as_ref().try_into().expect("a header value");
        request.headers_mut().append(header::COOKIE, line);
    }
    request
}

/// Waits until the condition holds. A test that would hang fails.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}
