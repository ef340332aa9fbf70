//! Requests in every form, and what the program has to say about them.

use std::{error::Error, net::SocketAddr, path::Path};

use tower_user_scope::{PeerAddr, middleware::BoxUserScopeLayer};

use crate::{configuration, output, sent};

/// Tokens that a key of this repository's tests has signed; the last one has expired.
const TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.E3ZrKPtan4uOL6abUG6QxUbQxr6OfI878-Evq_KfDL33vs8Ksh0h9LdncZbrf0-kaB1j1LL3qfXWw6ErxA8IDQ";
const FOR_OTHERS: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhbm90aGVyIiwic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDB9.PQUTePncbDVsuR9WVRYTFYGqc3XUsgd8An5LHMKJRPBpqoE1IllPgNtbj8qKtZxXxnX3LBav_lZ7uOdfLVtiDQ";
const EXPIRED: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbGljZSIsImV4cCI6MTcwMDAwMDAwMH0.5o1R8OnJHT-8yIl-0tnBJLHzY1eSOm5sFaaCmgPFSKF4TZScKUwBkOFX2KpY_eLzfx_C0aT4ydIkH9jtpbT7BQ";
const SESSION: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

const PROXY: [u8; 4] = [10, 0, 0, 7];
const STRANGER: [u8; 4] = [203, 0, 113, 9];

/// A request, its peer, and texts that the explanation has.
type Case = (&'static str, String, [u8; 4], &'static [&'static str]);

fn cases() -> Vec<Case> {
    let har = |token: &str| {
        format!(
            r#"{{"log":{{"entries":[{{"request":{{"method":"GET","url":"https://api.example/orders?key={token}",
            "headers":[{{"name":":path","value":"/orders"}},{{"name":"Authorization","value":"Bearer {token}"}}]}}}}]}}}}"#
        )
    };
    vec![
        (
            "a header from the proxy, as text",
            "GET /orders HTTP/1.1\nHost: api.example\nX-User-Id: bob\n".to_owned(),
            PROXY,
            &[
                "trusted_header: found",
                "goes on as user bob, asserted by trusted_header",
            ],
        ),
        (
            "the same from a stranger",
            "GET /orders HTTP/1.1\nHost: api.example\nX-User-Id: bob\n".to_owned(),
            STRANGER,
            &[
                "removes x-user-id, peer_not_listed",
                "refused with 401",
                "not_accepted: Something was sent that no strategy took up",
                "do: Add the address in `peer` to `from_proxies`",
            ],
        ),
        (
            "a token, for curl",
            format!(
                "curl -sS 'https://api.example/orders' \\\n  -H 'Authorization: Bearer {TOKEN}' --compressed"
            ),
            STRANGER,
            &["jwt: found", "goes on as user alice, proved by jwt"],
        ),
        (
            "a token of another service, in a HAR file",
            har(FOR_OTHERS),
            STRANGER,
            &[
                "jwt: invalid",
                "token_wrong_audience: `aud` names others.",
                "do: `cause` shows both lists.",
            ],
        ),
        (
            "a token that has ended, for curl",
            format!("curl --oauth2-bearer {EXPIRED} -X POST https://api.example/orders"),
            STRANGER,
            &[
                "POST /orders from 203.0.113.9",
                "do: Renew it; compare the clocks.",
            ],
        ),
        (
            "a session, whose store is not here",
            format!("GET / HTTP/1.1\nCookie: sid={SESSION}\n"),
            STRANGER,
            &[
                "session_cookie: unavailable",
                "refused with 503",
                "cause: this program has no access to the session store",
                "do: `cause` says why",
            ],
        ),
        (
            "nothing at all",
            "GET / HTTP/1.1\nHost: api.example\n".to_owned(),
            STRANGER,
            &["goes on as service internal, fallback by service_fallback"],
        ),
    ]
}

async fn explain(
    layer: &BoxUserScopeLayer,
    request: &str,
    peer: [u8; 4],
) -> Result<(String, String), Box<dyn Error>> {
    let mut heads = sent::read(request)?;
    let mut head = heads.pop().ok_or("no request")?;
    head.extensions
        .insert(PeerAddr(SocketAddr::from((peer, 0))));
    let explanation = layer.explain(&head).await;
    let json = output::json(&head, &explanation).to_string();
    Ok((output::text(&head, &explanation, false), json))
}

/// Explains each request, and fails where a text is missing or a credential is there.
pub(crate) async fn check() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let layer = configuration::layer(include_str!("../explain.toml"), folder)?;
    let secrets = [TOKEN, FOR_OTHERS, EXPIRED].map(|token| token.split('.').skip(1));
    let secrets: Vec<_> = secrets.into_iter().flatten().chain([SESSION]).collect();
    for (what, request, peer, expected) in cases() {
        let (text, json) = explain(&layer, &request, peer).await?;
        println!("--- {what}\n{text}\n{json}\n");
        for part in expected {
            if !text.contains(part) {
                return Err(format!("{what}: no `{part}`").into());
            }
        }
        if secrets
            .iter()
            .any(|secret| text.contains(secret) || json.contains(secret))
        {
            return Err(format!("{what}: a credential is in the output").into());
        }
    }
    Ok(())
}
