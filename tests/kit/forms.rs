//! Ids and secrets are found in whatever form and place they leave a service, and those that are
//! meant to be seen are no finding.

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_user_scope::{
    Scoped,
    testing::{AsUser, Finding, IsolationCheck, IsolationReport, TestUser},
};

use super::support::{Agents, Answer, Answering, check, kinds, lock, note, pieces, text};

/// Answers with what the user before sent, in a form.
async fn leaking(form: fn(&str) -> Answer) -> IsolationReport {
    let last: Arc<Mutex<String>> = Arc::default();
    let isolation = IsolationCheck::new()
        .users(4)
        .requests_of_each(4)
        .cancel_percent(0);
    check(isolation, move |_: Scoped<Agents>, request| -> Answering {
        let note = note(&request);
        let before = std::mem::replace(&mut *lock(&last), note.clone());
        let before = if before.is_empty() { note } else { before };
        Box::pin(async move { form(&before) })
    })
    .await
}

fn escaped(text: &str, escape: fn(u8) -> String) -> String {
    text.bytes().map(escape).collect()
}

fn compressed<W: Write>(mut encoder: W, text: &str) -> W {
    encoder
        .write_all(format!("{} {text}, and more of it", "long ".repeat(50)).as_bytes())
        .expect("memory");
    encoder
}

fn with_encoding(encoding: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = text(body);
    answer
        .headers_mut()
        .insert("content-encoding", HeaderValue::from_static(encoding));
    answer
}

#[tokio::test]
async fn a_secret_is_found_in_every_form_and_place() {
    type Case = (&'static str, &'static str, fn(&str) -> Answer);
    let cases: [Case; 21] = [
        ("plain", "body", |note| text(format!("before you: {note}"))),
        ("plain", "body", |note| text(note.to_uppercase())),
        ("base64", "body", |note| text(BASE64_STANDARD.encode(note))),
        ("base64", "body", |note| {
            text(BASE64_URL_SAFE_NO_PAD.encode(format!("?{note}??")))
        }),
        ("base64", "body", |note| {
            text(format!(
                "token:{}",
                BASE64_STANDARD.encode(format!("ab{note}"))
            ))
        }),
        ("hexadecimal", "body", |note| {
            text(escaped(note, |byte| format!("{byte:02x}")))
        }),
        ("hexadecimal", "body", |note| {
            text(escaped(note, |byte| format!("{byte:02X}")))
        }),
        ("escaped", "body", |note| text(note.replace('-', "\\u002d"))),
        ("escaped", "body", |note| {
            text(escaped(note, |byte| format!("\\u{byte:04x}")))
        }),
        ("escaped", "body", |note| text(note.replace('-', "%2D"))),
        ("escaped", "body", |note| {
            text(escaped(note, |byte| format!("&#{byte};")))
        }),
        ("escaped", "body", |note| {
            text(escaped(note, |byte| format!("&#x{byte:x};")))
        }),
        ("UTF-16", "body", |note| {
            text(
                note.encode_utf16()
                    .flat_map(u16::to_be_bytes)
                    .collect::<Vec<u8>>(),
            )
        }),
        // Split in the middle of the secret, and each byte a frame of its own.
        ("plain", "body", |note| {
            pieces(
                note.to_owned()
                    .into_bytes()
                    .into_iter()
                    .map(|byte| vec![byte]),
            )
        }),
        ("plain", "body", |note| {
            let encoder = compressed(GzEncoder::new(Vec::new(), Compression::best()), note);
            with_encoding("gzip", encoder.finish().expect("memory"))
        }),
        ("plain", "body", |note| {
            let encoder = compressed(ZlibEncoder::new(Vec::new(), Compression::best()), note);
            with_encoding("deflate", encoder.finish().expect("memory"))
        }),
        ("plain", "body", |note| {
            let encoder = compressed(DeflateEncoder::new(Vec::new(), Compression::best()), note);
            with_encoding("deflate", encoder.finish().expect("memory"))
        }),
        // Behind the five bytes that stand before each message of gRPC.
        ("gzip", "body", |note| {
            let encoder = compressed(GzEncoder::new(Vec::new(), Compression::best()), note);
            let message = encoder.finish().expect("memory");
            text([&[1, 0, 0, 0, 60], &message[..]].concat())
        }),
        ("plain", "header x-last", |note| {
            let mut answer = text("");
            answer
                .headers_mut()
                .insert("x-last", note.parse().expect("visible"));
            answer
        }),
        ("base64", "header last-bin", |note| {
            let mut answer = text("");
            let value = BASE64_STANDARD.encode(note);
            answer
                .headers_mut()
                .insert("last-bin", value.parse().expect("visible"));
            answer
        }),
        ("plain", "trailer x-last", |note| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-last", note.parse().expect("visible"));
            let frames = [
                Ok(Frame::data(Bytes::from("text"))),
                Ok(Frame::trailers(trailers)),
            ];
            Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync())
        }),
    ];
    for (number, (form, place, leak)) in cases.into_iter().enumerate() {
        let report = leaking(leak).await;
        let found = report.findings().iter().any(|finding| {
            matches!(
                finding,
                Finding::ForeignBytes { form: found, what, location, .. }
                    if *found == form && what == "note" && location.place() == place
                        && location.request() == "GET /thing"
            )
        });
        assert!(found, "case {number}, {form} in {place}: {report}");
        assert_eq!(kinds(&report), ["foreign_bytes"], "case {number}: {report}");
    }
}

#[tokio::test]
async fn a_secret_in_the_name_of_a_header_is_found() {
    let report = leaking(|note| {
        let mut answer = text("");
        let name = HeaderName::from_bytes(note.as_bytes()).expect("a token");
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static("1"));
        answer
    })
    .await;
    let named = |finding: &Finding| {
        finding
            .location()
            .is_some_and(|location| location.place().starts_with("the name of header"))
    };
    assert!(report.findings().iter().any(named), "{report}");
}

#[tokio::test]
async fn what_a_static_keeps_is_found_by_each_check_of_the_process() {
    static FIRST: OnceLock<String> = OnceLock::new();
    for seed in 100..120 {
        let handler = |agents: Scoped<Agents>, _| -> Answering {
            let first = FIRST.get_or_init(|| agents.owner.clone());
            Box::pin(async move { text(format!("{} of {first}", agents.owner)) })
        };
        let report = check(IsolationCheck::new().seed(seed), handler).await;
        assert_eq!(kinds(&report), ["foreign_bytes"], "{seed}: {report}");
        let earlier =
            |finding: &Finding| matches!(finding, Finding::ForeignBytes { owner: None, .. });
        assert_eq!(
            report.findings().iter().any(earlier),
            seed > 100,
            "{seed}: {report}"
        );
    }
}

#[tokio::test]
async fn b82_ids_that_are_meant_to_be_seen_are_no_finding_and_secrets_are() {
    for leaks in [false, true] {
        let members: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let chat = move |agents: Scoped<Agents>, request| -> Answering {
            let mine = note(&request);
            let mut members = lock(&members);
            members.push((agents.owner.clone(), mine.clone()));
            let lines = members.iter().map(|(member, note)| {
                if leaks {
                    format!("{member}: {note}\n")
                } else {
                    format!("{member}\n")
                }
            });
            let lines: String = lines.collect();
            Box::pin(async move { text(format!("{lines}\nyour note: {mine}")) })
        };
        let report = check(
            IsolationCheck::new()
                .users(6)
                .requests_of_each(6)
                .ids_are_public(),
            chat,
        )
        .await;
        if leaks {
            assert_eq!(kinds(&report), ["foreign_bytes"], "{report}");
        } else {
            report.assert_isolated();
        }
    }
}

#[tokio::test]
async fn users_of_the_application_s_own_are_found_by_their_ids_and_secrets() {
    let users = || {
        [
            TestUser::new("1001").with_secret("email", "alice@example.com"),
            TestUser::new("1002").with_secret("email", "bob@example.com"),
        ]
    };
    for (leak, what) in [("1001", "id"), ("Alice@Example.COM", "email")] {
        let handler = move |agents: Scoped<Agents>, _: Request<()>| -> Answering {
            let leak = if agents.owner == "1001" { "" } else { leak };
            Box::pin(async move {
                text(format!(
                    "{{\"id\":{},\"by\":\"{leak}\",\"n\":210015}}",
                    agents.owner
                ))
            })
        };
        let isolation = IsolationCheck::new().known_users(users());
        let report = check(isolation, handler).await;
        let found = report.findings().iter().all(|finding| {
            matches!(finding, Finding::ForeignBytes { what: found, owner: Some(owner), .. }
                if found == what && owner == "1001")
        });
        assert!(found && !report.findings().is_empty(), "{what}: {report}");
    }
}

#[tokio::test]
async fn b81_a_check_in_which_nobody_sees_anything_of_their_own_fails() {
    let silent = || {
        tower::service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(text("done")))
    };
    let cases: [(IsolationCheck, bool, &str); 3] = [
        (IsolationCheck::new(), false, "an id of their own"),
        (IsolationCheck::new(), true, "a secret of their own"),
        (
            IsolationCheck::new().ids_are_public(),
            false,
            "no user has a secret",
        ),
    ];
    for (isolation, with_secret, reason) in cases {
        let report = isolation
            .run(silent(), |user| {
                let note = if with_secret {
                    user.secret("note")
                } else {
                    String::new()
                };
                let request = Request::get("/").header("x-note", note).body(());
                request.expect("a request").as_user(user.id())
            })
            .await;
        let says = |finding: &Finding| matches!(finding, Finding::ShowsNothing { reason: found, .. } if found.contains(reason));
        assert!(
            matches!(report.findings(), [only] if says(only)),
            "{reason}: {report}"
        );
    }
}

#[tokio::test]
async fn forms_of_the_application_s_own_are_decoded() {
    fn turned(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().rev().copied().collect()
    }
    for decodes in [true, false] {
        let last: Arc<Mutex<String>> = Arc::default();
        let handler = move |agents: Scoped<Agents>, _| -> Answering {
            let before = std::mem::replace(&mut *lock(&last), agents.owner.clone());
            let mut body = format!("{} ", agents.owner).into_bytes();
            body.extend(turned(before.as_bytes()));
            Box::pin(async move { text(body) })
        };
        let mut isolation = IsolationCheck::new().users(4);
        if decodes {
            isolation = isolation.decode(|bytes| Some(turned(bytes)));
        }
        let report = check(isolation, handler).await;
        assert_eq!(!report.findings().is_empty(), decodes, "{report}");
    }
}

#[tokio::test]
async fn b82_ids_may_be_seen_at_one_path_and_not_at_others() {
    for (path, is_allowed) in [("/thing", true), ("/other", false)] {
        let last: Arc<Mutex<String>> = Arc::default();
        let handler = move |agents: Scoped<Agents>, request| -> Answering {
            let before = std::mem::replace(&mut *lock(&last), agents.owner.clone());
            let note = note(&request);
            Box::pin(async move { text(format!("{before} was here. {note}")) })
        };
        let report = check(IsolationCheck::new().users(4).shared_path(path), handler).await;
        assert_eq!(report.findings().is_empty(), is_allowed, "{report}");
    }
}
