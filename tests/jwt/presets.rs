//! B28: tokens of well-known issuers. The right one is accepted, and the same token with one thing wrong is
//! not.

use http::Request;
use serde_json::{Value, json};
use tower_user_scope::{
    Principal, UserContext,
    authorize::Grants,
    context::TenantId,
    jwt::{Algorithm, HasIssuer, Jwt, KeySet, Keys, TokenErrorKind, WantsAudience, presets},
};

use crate::tokens::{
    Why, asking,
    jwk::{jwk_with, others},
    minted, now,
    providers::both,
    verifying,
};

const RS: Algorithm = Algorithm::RS256;
const ES: Algorithm = Algorithm::ES256;

/// An issuer, a token of its form, and what makes it a wrong one.
struct Case {
    name: &'static str,
    preset: Jwt<HasIssuer, WantsAudience>,
    algorithm: Algorithm,
    audience: &'static str,
    /// The header that has the token, with what stands before it.
    header: (&'static str, &'static str),
    claims: Value,
    principal: &'static str,
    tenant: Option<&'static str>,
    scopes: &'static [&'static str],
    roles: &'static [&'static str],
    /// Changed claims, and why the token is refused; `null` removes a claim.
    wrong: Vec<(&'static str, Value, TokenErrorKind)>,
}

/// The public key of RFC 7515, appendix A.2.
const RFC_7515_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

const BEARER: (&str, &str) = ("authorization", "Bearer ");

fn issuer(name: &str) -> (&'static str, Value, TokenErrorKind) {
    (
        "of another tenant",
        json!({"iss": name}),
        TokenErrorKind::WrongIssuer,
    )
}

fn audience(members: Value) -> (&'static str, Value, TokenErrorKind) {
    (
        "for another audience",
        members,
        TokenErrorKind::WrongAudience,
    )
}

fn missing(what: &'static str, claim: &'static str) -> (&'static str, Value, TokenErrorKind) {
    (
        what,
        json!({claim: null}),
        TokenErrorKind::MissingClaim(claim.into()),
    )
}

fn other(
    what: &'static str,
    claim: &'static str,
    value: &'static str,
) -> (&'static str, Value, TokenErrorKind) {
    (
        what,
        json!({claim: value}),
        TokenErrorKind::WrongClaim(claim.into()),
    )
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "Auth0",
            preset: presets::auth0("tenant.eu.auth0.com"),
            algorithm: RS,
            audience: "https://api.example",
            header: BEARER,
            claims: json!({
                "iss": "https://tenant.eu.auth0.com/",
                "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
                "aud": ["https://api.example", "https://tenant.eu.auth0.com/userinfo"],
                "azp": "my_client_id", "gty": "password",
                "scope": "openid orders:read", "permissions": ["orders:write"],
            }),
            principal: "auth0|5f7c8ec7c33c6c004bbafe82",
            tenant: None,
            scopes: &["openid", "orders:read"],
            roles: &["orders:write"],
            wrong: vec![
                issuer("https://other.eu.auth0.com/"),
                issuer("https://tenant.eu.auth0.com"),
                // An ID token is for the client.
                audience(json!({"aud": "my_client_id"})),
            ],
        },
        Case {
            name: "Okta",
            preset: presets::okta("dev-1.okta.com", "default"),
            algorithm: RS,
            audience: "api://default",
            header: BEARER,
            claims: json!({
                "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
                "iss": "https://dev-1.okta.com/oauth2/default", "aud": "api://default",
                "cid": "0oabucvyc38HLL1ef0h7", "uid": "00ucfqmfDCKOL4Rhe0g3", "scp": ["openid", "orders"],
                "sub": "alice@example.com", "groups": ["staff"],
            }),
            principal: "00ucfqmfDCKOL4Rhe0g3",
            tenant: None,
            scopes: &["openid", "orders"],
            roles: &["staff"],
            wrong: vec![
                issuer("https://dev-1.okta.com/oauth2/other"),
                issuer("https://dev-2.okta.com/oauth2/default"),
                // An ID token is for the client.
                audience(json!({"aud": "0oabucvyc38HLL1ef0h7"})),
                missing("of a client for itself", "uid"),
            ],
        },
        Case {
            name: "Keycloak",
            preset: presets::keycloak("https://id.example", "shop"),
            algorithm: RS,
            audience: "orders-api",
            header: BEARER,
            claims: json!({
                "iss": "https://id.example/realms/shop", "aud": ["orders-api", "account"],
                "sub": "5d1ea2ad-8b8e-4f2c-a0a0-6a4e5d4c3b2a", "typ": "Bearer", "azp": "web",
                "sid": "8c7a", "scope": "profile email",
                "realm_access": {"roles": ["offline_access", "editor"]},
                "resource_access": {"account": {"roles": ["view-profile"]}},
            }),
            principal: "5d1ea2ad-8b8e-4f2c-a0a0-6a4e5d4c3b2a",
            tenant: None,
            scopes: &["email", "profile"],
            roles: &["editor", "offline_access"],
            wrong: vec![
                issuer("https://id.example/realms/master"),
                audience(json!({"aud": "account"})),
                other("an ID token", "typ", "ID"),
                other("a refresh token", "typ", "Refresh"),
                missing("of no type", "typ"),
            ],
        },
        Case {
            name: "Entra ID",
            preset: presets::entra_id("72f988bf-86f1-41af-91ab-2d7cd011db47"),
            algorithm: RS,
            audience: "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            header: BEARER,
            claims: json!({
                "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
                "iss": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
                "azp": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "azpacr": "1",
                "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
                "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
                "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47", "ver": "2.0", "uti": "fqiBqXLPj0eQa82S-IYFAA",
                "scp": "Orders.Read Orders.Write", "roles": ["Orders.Admin"],
            }),
            principal: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            tenant: Some("72f988bf-86f1-41af-91ab-2d7cd011db47"),
            scopes: &["Orders.Read", "Orders.Write"],
            roles: &["Orders.Admin"],
            wrong: vec![
                issuer(
                    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
                ),
                // A token of version 1.0.
                issuer("https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/"),
                audience(json!({"aud": "00000003-0000-0000-c000-000000000000"})),
                other(
                    "a guest's of another tenant",
                    "tid",
                    "9188040d-6c67-4c5b-b112-36a304b66dad",
                ),
                missing("an ID token", "azp"),
            ],
        },
        Case {
            name: "Cognito",
            preset: presets::cognito("eu-central-1", "eu-central-1_aBcDeFgHi"),
            algorithm: RS,
            audience: "57cbishk4j24pabc1234567890",
            header: BEARER,
            claims: json!({
                "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["admin"],
                "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_aBcDeFgHi",
                "client_id": "57cbishk4j24pabc1234567890", "token_use": "access",
                "scope": "phone openid", "username": "alice",
            }),
            principal: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            tenant: None,
            scopes: &["openid", "phone"],
            roles: &["admin"],
            wrong: vec![
                issuer("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_other"),
                audience(json!({"client_id": "another"})),
                missing("an ID token, which names its client in `aud`", "client_id"),
                other("an ID token with a claim that was added", "token_use", "id"),
            ],
        },
        Case {
            name: "Google IAP",
            preset: presets::google_iap(),
            algorithm: ES,
            audience: "/projects/123456789/global/backendServices/987654321",
            header: ("x-goog-iap-jwt-assertion", ""),
            claims: json!({
                "iss": "https://cloud.google.com/iap", "azp": "/projects/123456789/global/backendServices/987654321",
                "aud": "/projects/123456789/global/backendServices/987654321",
                "sub": "accounts.google.com:118133858486581853996", "email": "alice@example.com",
            }),
            principal: "accounts.google.com:118133858486581853996",
            tenant: None,
            scopes: &[],
            roles: &[],
            wrong: vec![
                // An ID token of Google's.
                issuer("https://accounts.google.com"),
                audience(json!({"aud": "/projects/123456789/global/backendServices/1"})),
            ],
        },
        Case {
            name: "Cloudflare Access",
            preset: presets::cloudflare_access("our-team"),
            algorithm: RS,
            audience: "32eafc7626e737a3c8ee5e1ae1f2ac5a6f0e3c1d2f1b0a9e8d7c6b5a49382716",
            header: ("cf-access-jwt-assertion", ""),
            claims: json!({
                "aud": ["32eafc7626e737a3c8ee5e1ae1f2ac5a6f0e3c1d2f1b0a9e8d7c6b5a49382716"],
                "email": "alice@example.com", "iss": "https://our-team.cloudflareaccess.com", "type": "app",
                "identity_nonce": "6ei69kawdKzMIAPF", "sub": "7335d417-61da-459d-899c-0a01c76a2f94", "country": "US",
            }),
            principal: "7335d417-61da-459d-899c-0a01c76a2f94",
            tenant: None,
            scopes: &[],
            roles: &[],
            wrong: vec![
                issuer("https://other-team.cloudflareaccess.com"),
                audience(json!({"aud": ["another application"]})),
                other("of the team's global session", "type", "org"),
            ],
        },
        Case {
            name: "Firebase",
            preset: presets::firebase("our-project"),
            algorithm: RS,
            audience: "our-project",
            header: BEARER,
            claims: json!({
                "iss": "https://securetoken.google.com/our-project", "aud": "our-project",
                "auth_time": now(), "user_id": "mV0", "sub": "mV0", "email": "alice@example.com",
                "firebase": {"identities": {}, "sign_in_provider": "password"},
            }),
            principal: "mV0",
            tenant: None,
            scopes: &[],
            roles: &[],
            wrong: vec![
                issuer("https://securetoken.google.com/other-project"),
                // A session cookie.
                issuer("https://session.firebase.google.com/our-project"),
                audience(json!({"aud": "other-project"})),
                missing("without a log-in", "auth_time"),
            ],
        },
        Case {
            name: "GitHub Actions",
            preset: presets::github_actions("octo-org/octo-repo"),
            algorithm: RS,
            audience: "https://deploy.example",
            header: BEARER,
            claims: json!({
                "iss": "https://token.actions.githubusercontent.com", "aud": "https://deploy.example",
                "sub": "repo:octo-org/octo-repo:ref:refs/heads/main", "ref": "refs/heads/main",
                "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "actor": "octocat",
            }),
            principal: "service repo:octo-org/octo-repo:ref:refs/heads/main",
            tenant: None,
            scopes: &[],
            roles: &[],
            wrong: vec![
                issuer("https://token.actions.example.com"),
                audience(json!({"aud": "https://github.com/octo-org"})),
                other("of a fork", "repository", "stranger/octo-repo"),
                missing("of no repository", "repository"),
            ],
        },
        Case {
            name: "Kubernetes",
            preset: presets::kubernetes("https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"),
            algorithm: RS,
            audience: "orders-api",
            header: BEARER,
            claims: json!({
                "aud": ["orders-api"], "iss": "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE",
                "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "worker", "uid": "1"}},
                "sub": "system:serviceaccount:billing:worker",
            }),
            principal: "service system:serviceaccount:billing:worker",
            tenant: None,
            scopes: &[],
            roles: &[],
            wrong: vec![
                issuer("https://oidc.eks.eu-central-1.amazonaws.com/id/OTHER"),
                // The one that is mounted into every pod.
                audience(json!({"aud": ["https://kubernetes.default.svc"]})),
                missing("of something else", "kubernetes.io"),
            ],
        },
    ]
}

impl Case {
    fn claims_with(&self, members: &Value) -> Value {
        let mut claims = self.claims.clone();
        let all = claims.as_object_mut().expect("claims are an object");
        all.entry("iat").or_insert_with(|| json!(now()));
        all.entry("exp").or_insert_with(|| json!(now() + 3_600));
        for (name, value) in members.as_object().expect("members of an object") {
            if value.is_null() {
                all.remove(name);
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        claims
    }

    fn token(&self, signed_with: Algorithm, members: &Value) -> String {
        minted(signed_with, None, &self.claims_with(members))
    }

    /// Sends the token to a layer that has the preset with these keys.
    async fn ask(&self, keys: impl Into<Keys>, token: &str) -> Result<UserContext, Why> {
        let preset = self.preset.clone().keys(keys).crypto_provider(both());
        let (name, before) = self.header;
        let request = Request::builder()
            .header(name, format!("{before}{token}"))
            .body(())
            .expect("a token can be in a header");
        let asked = asking(preset.audience(self.audience));
        asked.send(request).await.map_err(Why::from)
    }

    async fn send(&self, signed_with: Algorithm, members: &Value) -> Result<UserContext, Why> {
        let token = self.token(signed_with, members);
        self.ask(verifying(self.algorithm), &token).await
    }
}

#[tokio::test]
async fn the_right_token_of_each_issuer_is_accepted() {
    for case in cases() {
        let name = case.name;
        let context = match case.send(case.algorithm, &json!({})).await {
            Ok(context) => context,
            Err(why) => panic!("{name}: {why:?}"),
        };
        let principal = match context.principal() {
            Principal::User(id) => id.to_string(),
            Principal::Service(service) => format!("service {service}"),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(principal, case.principal, "{name}");
        assert_eq!(
            context.tenant_id().map(TenantId::as_str),
            case.tenant,
            "{name}"
        );
        let none = Grants::new();
        let grants = Grants::of(&context).unwrap_or(&none);
        assert!(
            grants.scopes().eq(case.scopes.iter().copied()),
            "{name}: {grants:?}"
        );
        assert!(
            grants.roles().eq(case.roles.iter().copied()),
            "{name}: {grants:?}"
        );
    }
}

#[tokio::test]
async fn a_token_with_one_thing_wrong_is_refused() {
    for case in cases() {
        let hour_ago = now() - 3_600;
        let common = [
            ("expired", json!({"exp": hour_ago}), TokenErrorKind::Expired),
            (
                "without an end",
                json!({"exp": null}),
                TokenErrorKind::MissingClaim("exp".into()),
            ),
            (
                "of no issuer",
                json!({"iss": null}),
                TokenErrorKind::MissingClaim("iss".into()),
            ),
        ];
        for (what, members, kind) in case.wrong.iter().chain(&common) {
            let answer = case.send(case.algorithm, members).await.map(|_| ());
            assert_eq!(
                answer,
                Err(Why::Token(kind.clone())),
                "{}: {what}, {members}",
                case.name
            );
        }
    }
}

/// A key of the same kind that signed none of these tokens.
fn another_key(algorithm: Algorithm) -> KeySet {
    let key = if algorithm == ES {
        let [first, ..] = others("other");
        first
    } else {
        jwk_with(RS, "other", &json!({"n": RFC_7515_MODULUS}))
    };
    KeySet::from_jwks(json!({"keys": [key]}).to_string()).expect("a key set")
}

#[tokio::test]
async fn a_token_of_another_key_is_refused() {
    for case in cases() {
        // Signed with a key of another kind, and with a secret.
        let other = if case.algorithm == RS { ES } else { RS };
        for signed_with in [other, Algorithm::HS256] {
            let answer = case.send(signed_with, &json!({})).await.map(|_| ());
            let wrong = Err(Why::Token(TokenErrorKind::WrongAlgorithm));
            assert_eq!(answer, wrong, "{}: {signed_with:?}", case.name);
        }
        let token = case.token(case.algorithm, &json!({}));
        let answer = case.ask(another_key(case.algorithm), &token).await;
        let wrong = Err(Why::Token(TokenErrorKind::Signature));
        assert_eq!(answer.map(|_| ()), wrong, "{}", case.name);
    }
}
