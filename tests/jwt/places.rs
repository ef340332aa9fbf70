//! The places of a token: a token that can't be read is invalid and not absent, and no token reaches the
//! inner service in a place where it could be logged or sent back.

use std::convert::Infallible;

use axum::{
    Extension, Router,
    extract::{OriginalUri, ws::WebSocketUpgrade},
    response::Response,
    routing::get,
};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, error::ProtocolError},
};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Fallback, Rejection, UserContext, UserScopeLayer,
    audit::AuditEvent,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Presence, Strategy, StripReason},
    testing::Recorder,
    token::{OfferedProtocol, TokenSource},
};

use crate::tokens::{HS, base64url, claims, jwt, minted, verifying};

/// The result of a request to a service that allows anonymous visitors.
#[derive(Debug, PartialEq)]
enum Got {
    User,
    /// Nothing was sent.
    Visitor,
    /// A credential that can't be read was sent.
    Unreadable(InvalidErrorKind),
    /// A token that is not valid was sent.
    BadToken,
}

use Got::{BadToken, User, Visitor};
const MALFORMED: Got = Got::Unreadable(InvalidErrorKind::Malformed);
const REPEATED: Got = Got::Unreadable(InvalidErrorKind::Repeated);

/// The result, and the request as the inner service sees it if the strategy is optional.
async fn got(source: &TokenSource, request: Request<()>) -> (Got, Request<()>) {
    let strategy = || jwt(verifying(HS)).token_source(source.clone());
    let inner = service_fn(async |request: Request<()>| {
        let mut response = http::Response::new(());
        response.extensions_mut().insert(request);
        Ok::<_, Infallible>(response)
    });
    let strict = UserScopeLayer::builder()
        .strategy(strategy())
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("good");
    let (head, ()) = request.clone().into_parts();
    let presence = strategy().presence(&head);
    let response = strict.layer(inner).oneshot(request.clone()).await;
    let mut response = response.expect("infallible");
    let got = match response.extensions_mut().remove::<Rejection>() {
        None => {
            let request = response.extensions().get::<Request<()>>().expect("seen");
            let context = request.extensions().get::<UserContext>().expect("known");
            if context.user_id().is_some() {
                User
            } else {
                Visitor
            }
        }
        Some(rejection) => match rejection.kind() {
            RejectionKind::Invalid { invalid, .. } => match invalid.kind() {
                InvalidErrorKind::Rejected(_) => BadToken,
                reason => {
                    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
                    Got::Unreadable(reason)
                }
            },
            other => panic!("{other:?}"),
        },
    };
    let sent = Presence::from(got != Visitor);
    assert_eq!(presence, sent, "{source:?}: {head:?}");
    let lenient = UserScopeLayer::builder()
        .strategy(strategy().optional())
        .strategy(tower_user_scope::from_fn(
            tower_user_scope::CredentialSource::predicate(|_| false),
            |_| {
                "somebody"
                    .parse::<tower_user_scope::UserId>()
                    .map_or(tower_user_scope::Outcome::Absent, |id| {
                        tower_user_scope::Identity::proved(id).into()
                    })
            },
        ))
        .context_only()
        .build()
        .expect("good");
    let response = lenient.layer(inner).oneshot(request).await;
    let mut response = response.expect("infallible");
    (got, response.extensions_mut().remove().expect("seen"))
}

fn with(name: &header::HeaderName, lines: &[Vec<u8>]) -> Request<()> {
    let mut request = Request::new(());
    for line in lines {
        let value = HeaderValue::from_bytes(line).expect("bytes that a header may have");
        request.headers_mut().append(name.clone(), value);
    }
    request
}

/// Checks that nothing that the inner service could print has the token.
fn assert_hidden(request: &Request<()>, token: &str, case: &str) {
    let shown = format!("{request:?}");
    assert!(!shown.contains(token), "{case}: {shown}");
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[tokio::test]
async fn an_authorization_that_could_be_a_bearers_is_never_absent() {
    let token = minted(HS, None, &claims("alice"));
    let good = token.as_bytes();
    let one = |line: Vec<u8>| vec![line];
    let cases: Vec<(Vec<Vec<u8>>, Got)> = vec![
        (one(bytes(&[b"Bearer ", good])), User),
        (one(bytes(&[b" \tbEARER   ", good, b" \t"])), User),
        (one(bytes(&[b"Bearer\t", good])), MALFORMED),
        (one(bytes(&[b"Bearer \t", good])), MALFORMED),
        (one(bytes(&[b"Bearer=", good])), MALFORMED),
        (one(bytes(&[b"Bearer,", good])), MALFORMED),
        (one(bytes(&[b"Bearer:", good])), MALFORMED),
        (one(bytes(&[b"Bearer: ", good])), MALFORMED),
        (one(bytes(&[b"Bearer/", good])), MALFORMED),
        (one(bytes(&[b"Bearer\"", good])), MALFORMED),
        (one(bytes(&[b"Bearer\xa0", good])), MALFORMED),
        (one(bytes(&[b"Bearer\xc2\xa0", good])), MALFORMED),
        (one(bytes(&[b"Bearer \xff", good])), MALFORMED),
        (one(bytes(&[b"Bearer ", good, b"\xff"])), MALFORMED),
        (one(b"Bearer".to_vec()), MALFORMED),
        (one(b"Bearer garbage{}".to_vec()), MALFORMED),
        (one(b"Bearer garbage".to_vec()), BadToken),
        // Characters before the scheme.
        (one(bytes(&[b"\xef\xbb\xbfBearer ", good])), MALFORMED),
        (one(bytes(&[b"\xc2\xa0Bearer ", good])), MALFORMED),
        (one(bytes(&[b", Bearer ", good])), MALFORMED),
        (one(bytes(&[b"\"Bearer ", good, b"\""])), MALFORMED),
        (one(bytes(&[b"Bea\xcc\x81rer ", good])), MALFORMED),
        (one(b"\xff\xfe".to_vec()), MALFORMED),
        // There is no scheme.
        (one(good.to_vec()), MALFORMED),
        // Two lines, joined by a proxy or not.
        (one(bytes(&[b"Basic YTpi, Bearer ", good])), REPEATED),
        (one(bytes(&[b"Basic YTpi,bearer\t", good])), REPEATED),
        (
            vec![b"Basic YTpi".to_vec(), bytes(&[b"Bearer ", good])],
            REPEATED,
        ),
        (
            vec![bytes(&[b"Bearer\t", good]), b"Basic YTpi".to_vec()],
            REPEATED,
        ),
        (vec![bytes(&[b"Bearer ", good]), b"\xff".to_vec()], REPEATED),
        // Other strategies may read other schemes.
        (one(Vec::new()), Visitor),
        (one(b"Basic YTpi".to_vec()), Visitor),
        (one(b"Basic\tYTpi".to_vec()), Visitor),
        (one(b"Negotiate".to_vec()), Visitor),
        (one(bytes(&[b"bearertoken ", good])), Visitor),
        (one(bytes(&[b"Bearer-Token ", good])), Visitor),
        (one(bytes(&[b"DPoP ", good])), Visitor),
        (
            one(b"Digest username=\"a\", bearer=\"b\", realm=\"c\"".to_vec()),
            Visitor,
        ),
        (
            one(b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host".to_vec()),
            Visitor,
        ),
        (vec![b"Basic a".to_vec(), b"Basic b".to_vec()], Visitor),
    ];
    for (lines, expected) in cases {
        let name = format!(
            "{:?}",
            lines
                .iter()
                .map(|it| it.escape_ascii().to_string())
                .collect::<Vec<_>>()
        );
        let request = with(&header::AUTHORIZATION, &lines);
        let (got, seen) = got(&TokenSource::bearer(), request).await;
        assert_eq!(got, expected, "{name}");
        assert_hidden(&seen, &token, &name);
    }
}

#[tokio::test]
async fn a_cookie_of_the_tokens_name_is_never_absent() {
    let token = minted(HS, None, &claims("alice"));
    let good = token.as_bytes();
    let cases: Vec<(Vec<Vec<u8>>, Got)> = vec![
        (vec![bytes(&[b"a=b; __Host-t=", good])], User),
        (vec![bytes(&[b"a=\xff; __Host-t=", good])], User),
        (vec![b"a=\xff".to_vec(), bytes(&[b"__Host-t=", good])], User),
        (vec![b"__Host-t".to_vec()], MALFORMED),
        (vec![b"a=b; __Host-t; c=d".to_vec()], MALFORMED),
        (vec![b"__Host-t=".to_vec()], BadToken),
        (vec![bytes(&[b"__Host-t=\xff", good])], BadToken),
        (vec![bytes(&[b"__Host-t=\"", good, b"\""])], BadToken),
        (vec![bytes(&[b"__Host-t\xa0=", good])], MALFORMED),
        (vec![bytes(&[b"__host-T=", good])], MALFORMED),
        (vec![bytes(&[b"__Host%2Dt=", good])], MALFORMED),
        (vec![bytes(&[b"\"__Host-t\"=", good])], MALFORMED),
        (vec![bytes(&[b"__Host-t=", good, b"; __Host-t"])], MALFORMED),
        (
            vec![bytes(&[b"__Host-t=", good]), b"__Host-t=x".to_vec()],
            REPEATED,
        ),
        (vec![b"a=b; __Host-tt=x; t=y; =z; ;".to_vec()], Visitor),
    ];
    for (lines, expected) in cases {
        let name = format!(
            "{:?}",
            lines
                .iter()
                .map(|it| it.escape_ascii().to_string())
                .collect::<Vec<_>>()
        );
        let request = with(&header::COOKIE, &lines);
        let (got, seen) = got(&TokenSource::cookie("__Host-t"), request).await;
        assert_eq!(got, expected, "{name}");
        assert_hidden(&seen, &token, &name);
    }
}

#[tokio::test]
async fn a_header_of_the_tokens_own_is_never_absent_and_goes_unless_it_is_believed() {
    let token = minted(HS, None, &claims("alice"));
    let good = token.as_bytes();
    let cases: Vec<(Vec<Vec<u8>>, Got)> = vec![
        (vec![good.to_vec()], User),
        (vec![bytes(&[b" \t", good, b" "])], User),
        (vec![Vec::new()], MALFORMED),
        (vec![b" ".to_vec()], MALFORMED),
        (vec![bytes(&[b"Bearer ", good])], MALFORMED),
        (vec![bytes(&[good, b"\xff"])], MALFORMED),
        (vec![bytes(&[good, b","])], REPEATED),
        (vec![bytes(&[good, b", ", good])], REPEATED),
        (vec![good.to_vec(), good.to_vec()], REPEATED),
        (vec![good.to_vec(), b"x".to_vec()], REPEATED),
        (vec![b"garbage".to_vec()], BadToken),
        (vec![], Visitor),
    ];
    let name = header::HeaderName::from_static("cf-access-jwt-assertion");
    for (lines, expected) in cases {
        let case: Vec<String> = lines
            .iter()
            .map(|it| it.escape_ascii().to_string())
            .collect();
        let (got, seen) = got(&TokenSource::header(&name), with(&name, &lines)).await;
        assert_eq!(got, expected, "{case:?}");
        assert_hidden(&seen, &token, &format!("{case:?}"));
        let stays = seen.headers().contains_key(&name);
        assert_eq!(stays, got == User, "{case:?}");
    }
}

#[tokio::test]
async fn a_header_that_an_upstream_takes_for_the_tokens_is_removed_and_reported() {
    let token = minted(HS, None, &claims("alice"));
    let name = header::HeaderName::from_static("x-goog-iap-jwt-assertion");
    let alike = header::HeaderName::from_static("x_goog_iap_jwt_assertion");
    let source = TokenSource::header(&name);
    let mut request = with(&name, &[token.clone().into()]);
    let value = HeaderValue::from_static("forged");
    request.headers_mut().append(&alike, value.clone());
    let (found, seen) = got(&source, request).await;
    assert_eq!(found, User);
    assert!(!seen.headers().contains_key(&alike));
    assert_eq!(seen.headers()[&name], token);

    // The marker alone is not a token, but something was sent, so the client does not count as a visitor.
    let mut request = Request::new(());
    request.headers_mut().append(&alike, value);
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(jwt(verifying(HS)).token_source(source))
        .fallback(Fallback::anonymous())
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("good");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(http::Response::new(())));
    let response = layer.layer(inner).oneshot(request).await;
    let status = response.expect("infallible").status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let events = recorder.events();
    let reported = events.iter().any(|event| {
        matches!(event, AuditEvent::HeaderStripped { header, reason: StripReason::LookAlike, .. }
            if **header == alike)
    });
    assert!(reported, "{events:?}");
}

#[test]
fn a_header_that_others_need_is_no_place_for_a_token() {
    for (name, fits) in [
        ("cf-access-jwt-assertion", true),
        ("authorization", false),
        ("Cookie", false),
        ("content-length", false),
        ("", false),
        ("two words", false),
    ] {
        let strategy = jwt(verifying(HS)).token_source(TokenSource::header(name));
        assert_eq!(strategy.validate().is_ok(), fits, "{name}");
    }
}

#[tokio::test]
async fn a_query_parameter_goes_from_the_uri_that_axum_keeps_too() {
    let layer = UserScopeLayer::builder()
        .strategy(jwt(verifying(HS)).token_source(TokenSource::query("access_token")))
        .context_only()
        .build()
        .expect("good");
    let uris = async |original: OriginalUri, uri: Uri| format!("{} {uri}", original.0);
    let inner = Router::new().route("/p", get(uris)).layer(layer);
    let app = Router::new().nest("/api", inner);
    let token = minted(HS, None, &claims("alice"));
    let request = Request::get(format!("/api/p?a=1&access_token={token}"));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("infallible");
    let body = axum::body::to_bytes(response.into_body(), 10_000).await;
    assert_eq!(body.expect("a body"), "/api/p?a=1 /p?a=1");
}

#[tokio::test]
async fn a_query_parameter_of_the_tokens_name_is_never_absent_and_goes() {
    let token = minted(HS, None, &claims("alice"));
    for (query, expected, left) in [
        (
            format!("?a=1&access_token={token}&b=%2F"),
            User,
            "/p?a=1&b=%2F",
        ),
        (format!("?access_token={token}"), User, "/p"),
        (format!("?acc%65ss_token={token}&&x"), User, "/p?&x"),
        (
            format!("?access_token={token}&access_token"),
            REPEATED,
            "/p",
        ),
        (format!("?access_token=%FF{token}"), BadToken, "/p"),
        ("?access_token".to_owned(), BadToken, "/p"),
        ("?access_token=".to_owned(), BadToken, "/p"),
        ("?a=access_token".to_owned(), Visitor, "/p?a=access_token"),
        (String::new(), Visitor, "/p"),
    ] {
        let mut request = Request::new(());
        let uri = format!("https://h.example/p{query}");
        *request.uri_mut() = uri.parse().expect("a URI");
        let (got, seen) = got(&TokenSource::query("access_token"), request).await;
        assert_eq!(got, expected, "{query}");
        let left: Uri = format!("https://h.example{left}").parse().expect("a URI");
        assert_eq!(seen.uri(), &left, "{query}");
        assert_hidden(&seen, &token, &query);
    }
}

#[tokio::test]
async fn a_sub_protocol_with_the_marker_is_never_absent_and_its_token_goes() {
    let token = minted(HS, None, &claims("alice"));
    let t = token.as_str();
    let cases: Vec<(Vec<Vec<u8>>, Got, &str)> = vec![
        (vec![format!("bearer, {t}").into()], User, "bearer"),
        (vec![format!("bearer,bearer.{t}").into()], User, "bearer"),
        (vec![format!("bearer.{t}, bearer").into()], User, "bearer"),
        (vec![format!("bearer.{t}").into()], User, ""),
        (
            vec![format!("chat, bearer, bearer.{t}, v2").into()],
            User,
            "chat, bearer, v2",
        ),
        (
            vec!["bearer".into(), format!("bearer.{t}").into()],
            User,
            "bearer",
        ),
        (vec!["bearer".into(), t.into()], User, "bearer"),
        // An unreadable token beside a good one: both are removed.
        (
            vec![format!("bearer, {t}").into(), b"ch\xffat".to_vec()],
            MALFORMED,
            "bearer",
        ),
        (
            vec![b"\xff".to_vec(), format!("bearer.{t}").into()],
            MALFORMED,
            "",
        ),
        (vec![b"ch\xffat".to_vec()], MALFORMED, ""),
        (vec![format!("bearer={t}").into()], MALFORMED, ""),
        (vec![format!("bearer {t}").into()], MALFORMED, ""),
        (vec![format!("bearer\t{t}").into()], MALFORMED, ""),
        (vec![format!("bearer:{t}").into()], MALFORMED, ""),
        (vec![format!("bearer/{t}, chat").into()], MALFORMED, "chat"),
        (vec![format!("Bearer, {t}").into()], MALFORMED, "Bearer"),
        (vec![format!("BEARER.{t}").into()], MALFORMED, ""),
        (vec!["bearer".into()], MALFORMED, "bearer"),
        (vec!["bearer.".into()], BadToken, ""),
        (
            vec![format!("bearer, {t}, bearer.{t}").into()],
            REPEATED,
            "bearer",
        ),
        (vec![format!("bearer.{t}, bearer.{t}").into()], REPEATED, ""),
        (
            vec!["bearertoken, chat.v1, graphql-ws".into()],
            Visitor,
            "bearertoken, chat.v1, graphql-ws",
        ),
    ];
    let source = TokenSource::websocket_protocol("bearer");
    for (lines, expected, left) in cases {
        let name = format!(
            "{:?}",
            lines
                .iter()
                .map(|it| it.escape_ascii().to_string())
                .collect::<Vec<_>>()
        );
        let request = with(&header::SEC_WEBSOCKET_PROTOCOL, &lines);
        let (got, seen) = got(&source, request).await;
        assert_eq!(got, expected, "{name}");
        let kept = seen.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let kept = kept.map_or("", |value| value.to_str().expect("ASCII"));
        assert_eq!(kept, left, "{name}");
        assert_hidden(&seen, &token, &name);
    }
}

#[tokio::test]
async fn a_sub_protocol_of_kubernetes_clients_has_its_token_in_base64url() {
    const MARKER: &str = "base64url.bearer.authorization.k8s.io";
    let token = minted(HS, None, &claims("alice"));
    let source = TokenSource::websocket_protocol_base64url(MARKER);
    for (sent, expected) in [
        (
            format!("{MARKER}.{}, v5.channel.k8s.io", base64url(&token)),
            User,
        ),
        (
            format!("v5.channel.k8s.io, {MARKER}.{}", base64url("x")),
            BadToken,
        ),
        (format!("{MARKER}.{token}, v5.channel.k8s.io"), MALFORMED),
        (
            format!("{MARKER}.{}, v5.channel.k8s.io", base64url(b"\xff")),
            MALFORMED,
        ),
        (format!("{MARKER}, v5.channel.k8s.io"), MALFORMED),
        ("v5.channel.k8s.io".to_owned(), Visitor),
    ] {
        let request = with(&header::SEC_WEBSOCKET_PROTOCOL, &[sent.clone().into()]);
        let (got, seen) = got(&source, request).await;
        assert_eq!(got, expected, "{sent}");
        assert_hidden(&seen, &base64url(&token), &sent);
    }
}

async fn socket(
    upgrade: WebSocketUpgrade,
    user: UserContext,
    offered: Option<Extension<OfferedProtocol>>,
) -> Response {
    let upgrade = upgrade.protocols(["bearer", "chat"]);
    let mut response = upgrade.on_upgrade(async move |mut socket| {
        let id = user.user_id().map(ToString::to_string).unwrap_or_default();
        let _ = socket
            .send(axum::extract::ws::Message::Text(id.into()))
            .await;
        let _ = socket.recv().await;
    });
    if let Some(Extension(offered)) = offered {
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered.header_value());
    }
    response
}

#[tokio::test]
async fn clients_that_send_their_token_as_a_sub_protocol_get_an_open_socket() {
    let source = TokenSource::websocket_protocol("bearer");
    let layer = UserScopeLayer::builder()
        .strategy(jwt(verifying(HS)).token_source(source))
        .context_only()
        .build()
        .expect("good");
    let app = Router::new().route("/", get(socket)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });

    let token = minted(HS, None, &claims("alice"));
    let connect = async |protocols: &str| {
        let mut request = format!("ws://{address}/")
            .into_client_request()
            .expect("a URL");
        let value = protocols.parse().expect("a header's value");
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        connect_async(request).await
    };
    for (sent, answered) in [
        (format!("bearer, {token}"), "bearer".to_owned()),
        (format!("bearer, bearer.{token}"), "bearer".to_owned()),
        (format!("bearer.{token}, chat"), "chat".to_owned()),
        (format!("bearer.{token}"), format!("bearer.{token}")),
    ] {
        let (mut socket, response) = connect(&sent).await.expect("an open socket");
        let headers: &HeaderMap = response.headers();
        assert_eq!(headers[header::SEC_WEBSOCKET_PROTOCOL], answered, "{sent}");
        let heard = socket.next().await.expect("a message").expect("good");
        assert_eq!(heard, Message::text("alice"), "{sent}");
        socket.send(Message::text("bye")).await.expect("it listens");
    }
    for sent in ["bearer", "bearer, x", "bearer.x", "chat"] {
        match connect(sent).await {
            Err(Error::Http(response)) => assert!(response.status().is_client_error(), "{sent}"),
            other => panic!("{sent}: {other:?}"),
        }
    }
    // What a client does if the response names none of its protocols.
    let unanswered = connect(&format!("other, bearer.{token}")).await;
    assert!(
        matches!(
            unanswered,
            Err(Error::Protocol(
                ProtocolError::SecWebSocketSubProtocolError(_)
            ))
        ),
        "{unanswered:?}"
    );
}
