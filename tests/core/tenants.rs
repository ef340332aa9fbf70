//! B08: the tenant that a request names is that of its user, or the request is refused. It never
//! changes who the user is.

use std::convert::Infallible;

use http::{HeaderName, Request, Response, StatusCode, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_user_scope::{
    Fallback, Identity, Outcome, Rejection, UserContext, UserId, UserScopeLayer,
    audit::AuditEvent,
    context::{Subject, TenantError, TenantId, TenantSource},
    middleware::LayerBuilder,
    rejection::RejectionKind,
    strategy::Strategy,
    testing::{Recorder, Scripted},
};

/// The tenants of a user who has several.
#[derive(Clone)]
struct MemberOf(&'static [&'static str]);

fn alice() -> Identity {
    Identity::proved("alice".parse::<UserId>().expect("an id"))
}

fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant's id")
}

fn finds(identity: Identity) -> impl Strategy {
    Scripted::new(move |_| Outcome::Found(identity.clone()))
}

fn by_header() -> TenantSource {
    TenantSource::header(HeaderName::from_static("x-tenant-id"))
}

/// Sends a request to a layer, which is configured further.
macro_rules! ask {
    ($request:expr, $builder:expr) => {{
        let layer = $builder
            .context_only()
            .build()
            .expect("a valid configuration");
        let service = layer.layer(service_fn(async |request: Request<()>| {
            let mut response = Response::new(String::new());
            let context = request.extensions().get::<UserContext>().cloned();
            response.extensions_mut().insert(context.expect("resolved"));
            Ok::<_, Infallible>(response)
        }));
        let response = service.oneshot($request).await.expect("infallible");
        let status = response.status();
        let (mut head, _) = response.into_parts();
        match head.extensions.remove::<Rejection>() {
            Some(rejection) => Err((status, rejection)),
            None => Ok(head.extensions.remove::<UserContext>().expect("a context")),
        }
    }};
}

fn builder() -> LayerBuilder {
    UserScopeLayer::builder()
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request")
}

#[tokio::test]
async fn a_tenant_that_is_not_the_identitys_is_refused() {
    let of = |own: Option<&str>| match own {
        Some(own) => alice().with_tenant_id(tenant(own)),
        None => alice(),
    };
    for (own, named, status, found) in [
        (Some("acme"), None, 200, Some("acme")),
        (Some("acme"), Some("acme"), 200, Some("acme")),
        (Some("acme"), Some("globex"), 403, None),
        (Some("acme"), Some("Acme"), 403, None),
        (Some("acme"), Some(""), 400, None),
        (Some("acme"), Some("null"), 400, None),
        (None, None, 200, None),
        (None, Some("acme"), 403, None),
    ] {
        let case = (own, named);
        let headers: Vec<_> = named.iter().map(|named| ("x-tenant-id", *named)).collect();
        let layer = builder().strategy(finds(of(own))).tenant(by_header());
        match ask!(request("/", &headers), layer) {
            Ok(context) => {
                assert_eq!(status, 200, "{case:?}");
                assert_eq!(context.tenant_id().map(TenantId::as_str), found, "{case:?}");
            }
            Err((refused, rejection)) => assert_eq!(refused, status, "{case:?}: {rejection}"),
        }
    }
}

#[tokio::test]
async fn a_user_of_several_tenants_is_in_the_one_that_the_request_names() {
    let member = |identity: &Identity, tenant: &TenantId| {
        let tenants = identity.attributes().get::<MemberOf>();
        tenants.is_some_and(|tenants| tenants.0.contains(&tenant.as_str()))
    };
    let both = || alice().with_attribute(MemberOf(&["acme", "globex"]));
    let mut subjects = Vec::new();
    for (identity, named, status) in [
        (both(), "acme", 200),
        (both(), "globex", 200),
        (both(), "initech", 403),
        (alice(), "acme", 403),
        // A tenant of its own says who the user is, and a membership does not change that.
        (both().with_tenant_id(tenant("acme")), "globex", 403),
        (both().with_tenant_id(tenant("acme")), "acme", 200),
    ] {
        let layer = builder()
            .strategy(finds(identity))
            .tenant_if(by_header(), member);
        match ask!(request("/", &[("x-tenant-id", named)]), layer) {
            Ok(context) => {
                assert_eq!(status, 200, "{named}");
                let alice = "alice".parse::<UserId>().expect("an id");
                assert_eq!(
                    context.subject(),
                    &Subject::new(alice).with_tenant_id(tenant(named))
                );
                subjects.push(context.scoped_key("cart"));
            }
            Err((refused, rejection)) => assert_eq!(refused, status, "{named}: {rejection}"),
        }
    }
    assert_eq!(
        subjects,
        [
            "cart:user:acme:alice",
            "cart:user:globex:alice",
            "cart:user:acme:alice"
        ]
    );
}

#[tokio::test]
async fn each_place_names_a_tenant_or_none_or_is_refused() {
    const NONE: Result<Option<&str>, TenantError> = Ok(None);
    let acme = || Ok(Some("acme"));
    let (host, path) = (
        TenantSource::subdomain_of("Example.com"),
        TenantSource::path_segment(1),
    );
    let host_is = |host: &'static str| request("/", &[("host", host)]);
    let twice = [("x-tenant-id", "acme"), ("x-tenant-id", "acme")];
    let raw = {
        let mut request = request("/", &[]);
        let value = http::HeaderValue::from_bytes(b"\xff").expect("obs-text");
        request.headers_mut().insert("x-tenant-id", value);
        request
    };
    for (case, source, request, answer) in [
        ("no header", by_header(), request("/", &[]), NONE),
        (
            "a header twice",
            by_header(),
            request("/", &twice),
            Err(TenantError::Repeated),
        ),
        (
            "a header that is no text",
            by_header(),
            raw,
            Err(TenantError::Malformed),
        ),
        ("no host", host.clone(), request("/", &[]), NONE),
        (
            "a subdomain",
            host.clone(),
            host_is("acme.example.com"),
            acme(),
        ),
        (
            "with a port",
            host.clone(),
            host_is("acme.example.com:8443"),
            acme(),
        ),
        (
            "in capitals",
            host.clone(),
            host_is("ACME.EXAMPLE.COM"),
            acme(),
        ),
        (
            "with a dot at the end",
            host.clone(),
            host_is("acme.example.com."),
            acme(),
        ),
        (
            "the domain itself",
            host.clone(),
            host_is("example.com"),
            NONE,
        ),
        (
            "another domain",
            host.clone(),
            host_is("acme.example.org"),
            NONE,
        ),
        (
            "a longer name",
            host.clone(),
            host_is("acmeexample.com"),
            NONE,
        ),
        ("an address", host.clone(), host_is("[::1]:3000"), NONE),
        (
            "two labels",
            host.clone(),
            host_is("a.acme.example.com"),
            Err(TenantError::Malformed),
        ),
        (
            "no label",
            host.clone(),
            host_is(".example.com"),
            Err(TenantError::Malformed),
        ),
        (
            "no host at all",
            host.clone(),
            host_is("acme.example.com/x"),
            Err(TenantError::Malformed),
        ),
        (
            "in the URI, as HTTP/2 has it",
            host.clone(),
            request("https://acme.example.com/", &[]),
            acme(),
        ),
        (
            "in both",
            host.clone(),
            request("https://acme.example.com/", &[("host", "acme.example.com")]),
            acme(),
        ),
        (
            "two hosts",
            host.clone(),
            request(
                "https://acme.example.com/",
                &[("host", "globex.example.com")],
            ),
            Err(TenantError::Repeated),
        ),
        (
            "a forwarded host",
            host,
            request("/", &[("x-forwarded-host", "acme.example.com")]),
            NONE,
        ),
        (
            "a segment",
            path.clone(),
            request("/t/acme/orders", &[]),
            acme(),
        ),
        (
            "the last segment",
            path.clone(),
            request("/t/acme?x=/globex", &[]),
            acme(),
        ),
        ("no such segment", path.clone(), request("/t", &[]), NONE),
        ("an empty last one", path.clone(), request("/t/", &[]), NONE),
        ("the root", path.clone(), request("/", &[]), NONE),
        (
            "two slashes after it",
            path.clone(),
            request("/t/acme/a//b%2Fc/.well-known/a..b", &[]),
            acme(),
        ),
    ]
    .into_iter()
    .chain(
        // Some reader of these finds another tenant.
        [
            "/t//orders",
            "//t/acme",
            "/t/ac%6De",
            "/t%2Fglobex/acme",
            "/t/acme/../globex",
            "/t/acme/a/../../globex",
            "/t/acme/./a",
            "/../t/acme",
            "/t/acme/%2e%2E/globex",
            "/t/acme/.%2e/globex",
            "/t/acme/..%2Fglobex",
            "/t/acme\\..\\globex",
            "/t/acme/..%5cglobex",
            "/..",
        ]
        .map(|path| {
            (
                path,
                TenantSource::path_segment(1),
                request(path, &[]),
                Err(TenantError::Malformed),
            )
        }),
    ) {
        let layer = builder()
            .strategy(finds(alice()))
            .tenant_if(source, |_, _| true);
        let came = match ask!(request, layer) {
            Ok(context) => Ok(context.tenant_id().cloned()),
            Err((status, rejection)) => {
                assert_eq!(status, StatusCode::BAD_REQUEST, "{case}");
                let RejectionKind::Tenant(error) = rejection.kind() else {
                    panic!("{case}: {rejection}")
                };
                Err(*error)
            }
        };
        assert_eq!(came, answer.map(|named| named.map(tenant)), "{case}");
    }
}

#[tokio::test]
async fn visitors_and_services_belong_where_the_application_says_so() {
    let visitors = || builder().fallback(Fallback::anonymous());
    let acme = || request("/", &[("x-tenant-id", "acme")]);
    let (status, _) = ask!(acme(), visitors().tenant(by_header())).expect_err("not of acme");
    assert_eq!(status, StatusCode::UNAUTHORIZED, "logging in may help");
    let all = |_: &Identity, _: &TenantId| true;
    let context = ask!(acme(), visitors().tenant_if(by_header(), all)).expect("a visitor of acme");
    assert_eq!(context.tenant_id(), Some(&tenant("acme")));
    assert_eq!(context.user_id(), None);
}

#[tokio::test]
async fn the_refusal_says_who_it_was_and_not_to_the_client() {
    let recorder = Recorder::new();
    let layer = builder()
        .strategy(finds(alice().with_tenant_id(tenant("acme"))))
        .tenant(by_header())
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let request = request("/", &[("x-tenant-id", "globex")]);
    let response = service.oneshot(request).await.expect("infallible");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    let refused = recorder.events().into_iter().find_map(|event| match event {
        AuditEvent::Refused {
            rejection, subject, ..
        } => Some((rejection, subject)),
        _ => None,
    });
    let (rejection, subject) = refused.expect("an event");
    assert!(matches!(
        rejection.kind(),
        RejectionKind::Forbidden { forbidden, .. } if forbidden.reason() == "another_tenant"
    ));
    assert_eq!(subject.expect("alice").tenant_id(), Some(&tenant("acme")));
}
