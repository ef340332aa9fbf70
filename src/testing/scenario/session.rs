//! What a client remembers between requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use cookie::{Cookie, time::OffsetDateTime};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};

/// The cookies and headers that a client sends with each request.
#[derive(Default)]
pub(super) struct Session {
    cookies: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Session {
    pub(super) fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Adds what is remembered, unless the request has it already.
    pub(super) fn apply(&self, request: &mut Request<Bytes>) {
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if let (false, Ok(cookies)) = (pairs.is_empty(), HeaderValue::from_str(&pairs.join("; "))) {
            headers.entry(COOKIE).or_insert(cookies);
        }
    }

    /// Takes over the cookies that a response sets, and forgets those that it ends. Domains and
    /// paths are not looked at: the service is one.
    pub(super) fn remember(&mut self, headers: &HeaderMap) {
        let lines = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        for cookie in lines.filter_map(|line| Cookie::parse(line).ok()) {
            let expired = cookie
                .expires_datetime()
                .is_some_and(|at| at <= OffsetDateTime::now_utc());
            let is_over = match cookie.max_age() {
                // RFC 6265 section 5.3: `Max-Age` has precedence.
                Some(age) => !age.is_positive(),
                None => expired,
            };
            if is_over {
                self.cookies.remove(cookie.name());
            } else {
                self.cookies
                    .insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_sent_until_they_are_over() {
        let mut session = Session::default();
        let mut sent_after = |lines: &[&'static str]| {
            let lines = lines
                .iter()
                .map(|line| (SET_COOKIE, HeaderValue::from_static(line)));
            session.remember(&lines.collect());
            let mut request = Request::new(Bytes::new());
            session.apply(&mut request);
            request
                .headers()
                .get(COOKIE)
                .map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(sent_after(&[]), None);
        assert_eq!(
            sent_after(&["id=1; Path=/; HttpOnly", "theme=dark"]).as_deref(),
            Some("id=1; theme=dark")
        );
        assert_eq!(
            sent_after(&["id=2; Max-Age=60"]).as_deref(),
            Some("id=2; theme=dark")
        );
        assert_eq!(
            sent_after(&["theme=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]).as_deref(),
            Some("id=2")
        );
        assert_eq!(sent_after(&["id=; Max-Age=0"]), None);
    }
}
