//! A trusted header whose value is more than an id: the application reads it, and the crate decides
//! about trust and removal.

use std::future::Ready;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, Request, request::Parts};
use serde::Deserialize;
use tower_user_scope::{
    ConfigError, Fallback, Identity, InvalidError, MaybeFuture, Outcome, Principal, Rejection,
    TrustedHeader, UserId, UserScopeLayer,
    context::{IdErrorKind, ServiceName, TenantId},
    rejection::RejectionKind,
    strategy::{
        InvalidErrorKind, Presence, Strategy, StripReason, Stripped, Trust, TrustedFields,
        Trusting, UntrustedReason,
    },
};

use crate::header_trust::{PROXY, STRANGER, layer_of, request, send};

#[derive(Clone, Debug, PartialEq)]
struct Groups(Vec<String>);

/// Reads the user from IAP's header and the user's groups from another header.
fn email(fields: &TrustedFields<'_>) -> Result<Identity, InvalidError> {
    let (namespace, email) = fields.text()?.split_once(':').unwrap_or_default();
    if namespace != "accounts.google.com" {
        return Err(InvalidErrorKind::Malformed.into());
    }
    let groups = fields.other("X-Groups")?.unwrap_or_default().split(',');
    // The closure claims more than a header can prove.
    let identity = Identity::proved(email.parse::<UserId>()?);
    Ok(identity.with_attribute(Groups(groups.map(str::to_owned).collect())))
}

fn strategy() -> TrustedHeader<Trusting> {
    TrustedHeader::new("x-user")
        .read_with(email)
        .also_header("x-groups")
        .tenant_header("x-tenant")
        .from_proxies(["10.0.0.0/8"])
        .expect("a network")
}

/// The kind of the strategy's outcome.
fn why(rejection: &Rejection) -> Option<InvalidErrorKind> {
    match rejection.kind() {
        RejectionKind::Invalid { invalid, .. } => Some(invalid.kind()),
        _ => None,
    }
}

const ALICE: (&str, &[u8]) = ("x-user", b"accounts.google.com:alice@example.com");

#[tokio::test]
async fn the_application_reads_the_value_of_a_trusted_sender() {
    let (layer, _) = layer_of(strategy());
    let headers = [ALICE, ("x-groups", b"a,b"), ("x-tenant", b"acme")];
    let seen = send(&layer, request(PROXY, &headers)).await.expect("alice");
    let context = &seen.context;
    assert_eq!(
        context.user_id().map(UserId::as_str),
        Some("alice@example.com")
    );
    assert_eq!(context.tenant_id().map(TenantId::as_str), Some("acme"));
    let groups = Groups(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(context.attributes().get(), Some(&groups));
    assert!(
        context.evidence().is_asserted(),
        "whatever the closure says"
    );
    assert_eq!(seen.headers.len(), 3, "what is believed stays");
}

type Headers<'a> = &'a [(&'a str, &'a [u8])];

#[tokio::test]
async fn a_value_that_the_application_cannot_read_ends_the_list() {
    let (layer, _) = layer_of(strategy());
    let too_long = [b"accounts.google.com:".as_slice(), &[b'a'; 300]].concat();
    let cases: [(&str, Headers<'_>, InvalidErrorKind); 7] = [
        (
            "no namespace",
            &[("x-user", b"alice")],
            InvalidErrorKind::Malformed,
        ),
        (
            "empty",
            &[("x-user", b"")],
            InvalidErrorKind::Id(IdErrorKind::Empty),
        ),
        (
            "not text",
            &[("x-user", b"\xff")],
            InvalidErrorKind::NotText,
        ),
        ("repeated", &[ALICE, ALICE], InvalidErrorKind::Repeated),
        (
            "repeated groups",
            &[ALICE, ("x-groups", b"a"), ("x-groups", b"b")],
            InvalidErrorKind::Repeated,
        ),
        (
            "an id that is none",
            &[("x-user", &too_long)],
            InvalidErrorKind::Id(IdErrorKind::TooLong { limit: 256 }),
        ),
        (
            "a tenant alone",
            &[("x-tenant", b"acme")],
            InvalidErrorKind::Malformed,
        ),
    ];
    for (case, headers, kind) in cases {
        let rejection = send(&layer, request(PROXY, headers)).await.expect_err(case);
        assert_eq!(why(&rejection), Some(kind), "{case}");
    }
}

#[tokio::test]
async fn a_stranger_is_not_read_and_every_header_goes() {
    let header = TrustedHeader::new("x-user")
        .read_with(|_| panic!("read before the sender was checked"))
        .also_header("x-groups")
        .from_proxies(["10.0.0.0/8"])
        .expect("a network");
    let (layer, stripped) = layer_of(header);
    let headers = [ALICE, ("x-groups", b"admins"), ("x_groups", b"admins")];
    let refused = send(&layer, request(STRANGER, &headers)).await;
    assert!(refused.is_err());
    let peer = StripReason::Untrusted(UntrustedReason::PeerNotListed);
    let mut removed = stripped.take();
    removed.sort_by(|a, b| a.0.cmp(&b.0));
    let name = str::to_owned;
    let expected = [
        (name("x-groups"), peer),
        (name("x-user"), peer),
        (name("x_groups"), StripReason::LookAlike),
    ];
    assert_eq!(removed, expected);
}

#[tokio::test]
async fn another_header_alone_is_no_credential_and_is_removed() {
    let layer = UserScopeLayer::builder()
        .strategy(strategy())
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("good");
    let seen = send(&layer, request(PROXY, &[("x-groups", b"admins")])).await;
    let seen = seen.expect("a visitor");
    assert_eq!(seen.context.principal(), &Principal::Anonymous);
    assert!(seen.headers.is_empty(), "{:?}", seen.headers);
}

#[tokio::test]
async fn headers_that_were_not_declared_are_not_read() {
    let header = TrustedHeader::new("x-user")
        .read_with(|fields| {
            assert_eq!(fields.other("x-anything")?, None);
            assert_eq!(fields.others("x-anything").count(), 0);
            assert_eq!(fields.others("x-role").count(), 2);
            assert!(!format!("{fields:?}").contains("alice"));
            Ok(Identity::asserted(fields.text()?.parse::<UserId>()?))
        })
        .also_header("x-role")
        .from_proxies(["10.0.0.0/8"])
        .expect("a network");
    let (layer, _) = layer_of(header);
    let role: (&str, &[u8]) = ("x-role", b"editor");
    let headers = [
        ("x-user", b"alice".as_slice()),
        ("x-anything", b"1"),
        role,
        role,
    ];
    send(&layer, request(PROXY, &headers)).await.expect("alice");
}

#[tokio::test]
async fn a_header_of_base64_and_json_is_read_as_azure_writes_it() {
    #[derive(Deserialize)]
    struct ClientPrincipal<'a> {
        #[serde(borrow)]
        claims: Vec<Claim<'a>>,
    }
    #[derive(Deserialize)]
    struct Claim<'a> {
        typ: &'a str,
        val: &'a str,
    }
    let header = TrustedHeader::new("x-ms-client-principal")
        .read_with(|fields| {
            let malformed = || InvalidError::new(InvalidErrorKind::Malformed);
            let json = STANDARD.decode(fields.value()).map_err(|_| malformed())?;
            let principal: ClientPrincipal<'_> =
                serde_json::from_slice(&json).map_err(|_| malformed())?;
            let mut claims = principal.claims.iter();
            let app = claims
                .find(|claim| claim.typ == "appid")
                .ok_or_else(malformed)?;
            Ok(Identity::asserted(app.val.parse::<ServiceName>()?))
        })
        .from_proxies(["10.0.0.0/8"])
        .expect("a network");
    let (layer, _) = layer_of(header);
    let json = r#"{"auth_typ":"aad","claims":[{"typ":"appid","val":"billing"}]}"#;
    let value = STANDARD.encode(json);
    let headers = [("x-ms-client-principal", value.as_bytes())];
    let seen = send(&layer, request(PROXY, &headers))
        .await
        .expect("billing");
    let billing: ServiceName = "billing".parse().expect("a name");
    assert_eq!(seen.context.principal(), &Principal::Service(billing));
    for bad in ["%%%", "e30=", "bm90IGpzb24="] {
        let headers = [("x-ms-client-principal", bad.as_bytes())];
        let rejection = send(&layer, request(PROXY, &headers)).await.expect_err(bad);
        assert_eq!(why(&rejection), Some(InvalidErrorKind::Malformed), "{bad}");
    }
}

#[test]
fn names_of_other_headers_are_checked() {
    let with = |name: &str| {
        TrustedHeader::new("x-user")
            .read_with(email)
            .also_header(name)
            .dangerously_trust_any_peer()
            .validate()
    };
    assert_eq!(with("x-groups"), Ok(()));
    let name = || "cookie".to_owned();
    assert_eq!(
        with("cookie"),
        Err(ConfigError::HeaderReserved { name: name() })
    );
    for alike in ["x-user", "x_user"] {
        let name = alike.to_owned();
        assert_eq!(with(alike), Err(ConfigError::HeaderReused { name }));
    }
    assert!(matches!(
        with("two words"),
        Err(ConfigError::HeaderName { .. })
    ));
}

/// An application's strategy with the crate's rules of trust and removal.
struct Machine {
    trust: Trust,
}

const MACHINE: HeaderName = HeaderName::from_static("x-machine");

impl Strategy for Machine {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "machine"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        let sent = head.headers.get(MACHINE);
        let name = sent.filter(|_| self.trust.check(head).is_ok());
        let name = name.map(|value| value.to_str().unwrap_or("").parse::<ServiceName>());
        MaybeFuture::Ready(match name {
            None => Outcome::Absent,
            Some(Ok(name)) => Identity::asserted(name).into(),
            Some(Err(error)) => Outcome::Invalid(error.into()),
        })
    }

    fn presence(&self, head: &Parts) -> Presence {
        head.headers.contains_key(MACHINE).into()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        self.trust.strip(head, &[MACHINE], believed, stripped);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.trust.validate()
    }
}

#[tokio::test]
async fn a_strategy_of_the_applications_own_trusts_and_removes_as_the_crate_does() {
    const SECRET: &str = "a secret of enough bytes";
    let trust = || {
        let proxies = Trust::proxies(["10.0.0.0/8"]).expect("a network");
        proxies.and(Trust::shared_secrets("x-secret", [SECRET]))
    };
    let layer = UserScopeLayer::builder()
        .strategy(Machine { trust: trust() })
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("good");
    let machine: (&str, &[u8]) = ("x-machine", b"billing");
    let secret: (&str, &[u8]) = ("x-secret", SECRET.as_bytes());
    let alike: (&str, &[u8]) = ("x_machine", b"admin");
    let seen = send(&layer, request(PROXY, &[machine, secret, alike])).await;
    let seen = seen.expect("billing");
    assert!(matches!(seen.context.principal(), Principal::Service(_)));
    let left: Vec<_> = seen.headers.keys().collect();
    assert_eq!(left, [&MACHINE], "the secret and the look-alike go");
    for (case, peer, headers) in [
        ("no secret", PROXY, vec![machine]),
        (
            "another secret",
            PROXY,
            vec![machine, ("x-secret", b"a secret of others, long")],
        ),
        ("another peer", STRANGER, vec![machine, secret]),
    ] {
        let refused = send(&layer, request(peer, &headers)).await;
        assert!(refused.is_err(), "{case}");
    }

    let short = Trust::shared_secrets("x-secret", ["short"]);
    let two = trust().and(Trust::shared_secrets("x-secret", [SECRET]));
    for trust in [short, two] {
        assert!(Machine { trust }.validate().is_err());
    }
    let shown = format!("{:?}", trust());
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn conditions_that_strategies_share_are_written_once() {
    let strategy = TrustedHeader::new("x-user")
        .trust(Trust::proxies(["10.0.0.0/8"]).expect("a network"))
        .only_if(|head| head.uri.path() != "/public");
    let (layer, _) = layer_of(strategy);
    let alice = [("x-user", b"alice".as_slice())];
    send(&layer, request(PROXY, &alice)).await.expect("alice");
    assert!(send(&layer, request(STRANGER, &alice)).await.is_err());
    let mut public: Request<()> = request(PROXY, &alice);
    *public.uri_mut() = "/public".parse().expect("a path");
    assert!(send(&layer, public).await.is_err());
}
