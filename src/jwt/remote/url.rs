//! Which URLs may be fetched, and how a URL is shown in errors and logs.

use std::net::IpAddr;

use reqwest::Url;

use super::super::UrlProblem;
use crate::peer::is_loopback_host;

/// Where plain `http` may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    ToLoopback,
    Anywhere,
}

/// Parses a URL with the parser of the HTTP client, and checks the result.
pub(crate) fn checked(url: &str, plain: PlainHttp) -> Result<Url, UrlProblem> {
    if url.contains(['{', '}']) {
        return Err(UrlProblem::Placeholder);
    }
    let url = Url::parse(url).map_err(|_| UrlProblem::NotAUrl)?;
    let host = url.host_str().ok_or(UrlProblem::NotAUrl)?;
    match url.scheme() {
        "https" => {}
        "http" if plain == PlainHttp::Anywhere || is_loopback_host(host) => {}
        _ => return Err(UrlProblem::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlProblem::Fragment);
    }
    Ok(url)
}

/// Checks a URL that an issuer's metadata names: an `https` issuer may not name plain `http`, nor an
/// internal host that is not its own.
pub(super) fn allowed_for_issuer(keys: Url, issuer: &Url) -> Result<Url, UrlProblem> {
    if issuer.scheme() != "https" {
        return Ok(keys);
    }
    if keys.scheme() != "https" {
        return Err(UrlProblem::NotHttps);
    }
    if keys.host_str() != issuer.host_str() && keys.host_str().is_none_or(is_internal) {
        return Err(UrlProblem::InternalHost);
    }
    Ok(keys)
}

/// Whether a host is an IP address or a `localhost` name (RFC 6761 section 6.3).
fn is_internal(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    host.starts_with('[')
        || name.parse::<IpAddr>().is_ok()
        || name.rsplit('.').next() == Some("localhost")
}

/// Returns a URL for errors and logs: without user name, password, query and fragment, and of at
/// most 256 characters.
pub(crate) fn redacted(url: &str) -> String {
    const LONGEST: usize = 256;
    let Ok(mut parsed) = Url::parse(url) else {
        return "..".to_owned();
    };
    if !parsed.has_host() || parsed.set_username("").is_err() || parsed.set_password(None).is_err()
    {
        return "..".to_owned();
    }
    let had_more = parsed.query().is_some() || parsed.fragment().is_some();
    parsed.set_query(None);
    parsed.set_fragment(None);
    // A serialized URL is ASCII. The parser adds a `/` to a URL without a path; it is not shown.
    let mut shown = parsed.as_str().to_owned();
    if parsed.path() == "/" && !url.trim_end().ends_with('/') && !had_more {
        shown.pop();
    }
    let is_long = shown.len() > LONGEST;
    shown.truncate(LONGEST);
    if had_more || is_long {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<Url, UrlProblem> {
        super::checked(url, PlainHttp::ToLoopback)
    }

    #[test]
    fn plain_http_is_fetched_where_the_application_says_so() {
        let anywhere = |url| super::checked(url, PlainHttp::Anywhere).err();
        assert_eq!(anywhere("http://keycloak:8080/realms/main"), None);
        assert_eq!(anywhere("ftp://keycloak/"), Some(UrlProblem::NotHttps));
        let user_info = anywhere("http://svc:secret@keycloak/");
        assert_eq!(user_info, Some(UrlProblem::UserInfo));
    }

    #[test]
    fn only_https_and_loopback_are_safe() {
        use UrlProblem::{Fragment, NotAUrl, NotHttps, Placeholder, UserInfo};
        for (url, problem) in [
            ("https://id.example/keys", None),
            ("HTTPS://id.example/keys?v=1", None),
            ("http://127.0.0.1:8080/keys", None),
            ("http://127.1/keys", None),
            ("http://[::1]/keys", None),
            ("http://localhost/keys", None),
            ("http://id.example/keys", Some(NotHttps)),
            ("http://localhost.example/keys", Some(NotHttps)),
            ("http://127.0.0.1.example/keys", Some(NotHttps)),
            ("http://0.0.0.0/keys", Some(NotHttps)),
            ("http://[::ffff:127.0.0.1]/keys", Some(NotHttps)),
            ("http://localhost:80@id.example/keys", Some(NotHttps)),
            ("http://id.example\\@localhost/keys", Some(NotHttps)),
            ("ftp://id.example/keys", Some(NotHttps)),
            ("file:///etc/passwd", Some(NotAUrl)),
            ("data:,{}", Some(Placeholder)),
            ("data:,x", Some(NotAUrl)),
            ("/keys", Some(NotAUrl)),
            ("", Some(NotAUrl)),
            ("https://svc@id.example/keys", Some(UserInfo)),
            ("https://:secret@id.example/keys", Some(UserInfo)),
            ("https://id.example/keys#a", Some(Fragment)),
            ("https://id.example/{tenantid}/v2.0", Some(Placeholder)),
        ] {
            assert_eq!(checked(url).err(), problem, "{url}");
        }
    }

    #[test]
    fn metadata_leads_to_no_host_that_only_this_machine_reaches() {
        use UrlProblem::{InternalHost, NotHttps};
        for (issuer, keys, problem) in [
            ("https://id.example", "https://id.example/keys", None),
            ("https://id.example", "https://keys.example/keys", None),
            ("https://10.0.0.5", "https://10.0.0.5:8443/keys", None),
            ("https://localhost", "https://localhost:8443/keys", None),
            ("http://localhost", "http://127.0.0.1:80/keys", None),
            (
                "https://id.example",
                "http://127.0.0.1:2375/v1",
                Some(NotHttps),
            ),
            ("https://localhost", "http://localhost/keys", Some(NotHttps)),
            (
                "https://id.example",
                "https://127.0.0.1/",
                Some(InternalHost),
            ),
            ("https://id.example", "https://0x7f.1/", Some(InternalHost)),
            (
                "https://id.example",
                "https://2130706433/",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://169.254.169.254/",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://10.1.2.3/keys",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://[fd00::1]/keys",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://localhost./",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://db.localhost/",
                Some(InternalHost),
            ),
            (
                "https://10.0.0.5",
                "https://10.0.0.6/keys",
                Some(InternalHost),
            ),
        ] {
            let issuer = checked(issuer).expect("an issuer");
            let found = checked(keys).and_then(|keys| allowed_for_issuer(keys, &issuer));
            assert_eq!(found.err(), problem, "{issuer} {keys}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_secret() {
        let long = format!("https://id.example/{}", "a".repeat(300));
        for (url, shown) in [
            (
                "https://svc:secret@id.example/k?api_key=s#s",
                "https://id.example/k..",
            ),
            ("https://id.example", "https://id.example"),
            ("https://id.example/", "https://id.example/"),
            ("https://id.example/keys", "https://id.example/keys"),
            ("svc:secret@id.example/k", ".."),
            ("secret", ".."),
            (&*long, &format!("{}..", &long[..256])),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
