//! A policy engine decides in the `authorize` step: who may do what with which document is written in
//! policies of Cedar, and who asks is the layer's answer.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    future::Ready,
    str::FromStr,
};

use axum::{Router, body::Body, routing::any};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use http::{HeaderValue, Method, StatusCode, request::Parts};
use tower::ServiceExt;
use tower_user_scope::{
    CredentialSource, Identity, MaybeFuture, Outcome, Principal, Rejection, UserContext, UserId,
    UserScopeLayer,
    authorize::{Authorize, AuthorizeError, ForbiddenError, Grants},
    context::TenantId,
    from_fn,
    rejection::RejectionKind,
};

const SCHEMA: &str = r#"
    entity Role;
    entity User in [Role] { tenant: String, level?: Long };
    entity Document { owner: User, tenant: String };
    action "read", "write" appliesTo { principal: User, resource: Document };
"#;

const POLICIES: &str = r#"
    permit (principal, action, resource) when { resource.owner == principal };
    permit (principal in Role::"editor", action == Action::"read", resource);
    forbid (principal, action, resource) unless { principal.tenant == resource.tenant };
"#;

/// A document of the application's.
struct Document {
    owner: &'static str,
    tenant: &'static str,
}

type Documents = HashMap<&'static str, Document>;

/// Policies, and what they are about.
struct Cedar {
    policies: PolicySet,
    schema: Schema,
    documents: Documents,
}

type Built<T> = Result<T, Box<dyn Error + Send + Sync>>;

impl Cedar {
    /// Reads the policies, and checks them against the schema: one with a misspelled attribute is an
    /// error when the service starts, and not one of each request.
    fn new(policies: &str, documents: Documents) -> Built<Self> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)?;
        let policies = PolicySet::from_str(policies)?;
        let validated = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if let Some(error) = validated.validation_errors().next() {
            return Err(error.to_string().into());
        }
        Ok(Self {
            policies,
            schema,
            documents,
        })
    }

    fn decide(&self, context: &UserContext, head: &Parts) -> Result<(), AuthorizeError> {
        let Principal::User(user) = context.principal() else {
            return Err(ForbiddenError::new("not_a_user").into());
        };
        let id = head.uri.path().strip_prefix("/documents/");
        let document = id.and_then(|id| Some((id, self.documents.get(id)?)));
        let Some((id, document)) = document else {
            // As for a document of somebody else's: nobody learns which ones there are.
            return Err(ForbiddenError::new("no_such_document").into());
        };
        let action = match head.method {
            Method::GET => "read",
            _ => "write",
        };
        match self.allows(context, user, action, id, document) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ForbiddenError::new("denied_by_policy").into()),
            // What could not be decided is not allowed.
            Err(_) => Err(ForbiddenError::new("policy_failed").into()),
        }
    }

    fn allows(
        &self,
        context: &UserContext,
        user: &UserId,
        action: &str,
        id: &str,
        document: &Document,
    ) -> Built<bool> {
        let tenant = context.tenant_id().map_or("", TenantId::as_str);
        let roles = Grants::of(context).into_iter().flat_map(Grants::roles);
        let roles: HashSet<EntityUid> =
            roles.map(|role| uid("Role", role)).collect::<Built<_>>()?;
        let (principal, resource) = (uid("User", user.as_str())?, uid("Document", id)?);
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let owner = RestrictedExpression::new_entity_uid(uid("User", document.owner)?);
        let entities = [
            Entity::new(
                principal.clone(),
                HashMap::from([("tenant".to_owned(), text(tenant))]),
                roles,
            )?,
            Entity::new(
                resource.clone(),
                HashMap::from([
                    ("owner".to_owned(), owner),
                    ("tenant".to_owned(), text(document.tenant)),
                ]),
                HashSet::new(),
            )?,
        ];
        let entities = Entities::from_entities(entities, Some(&self.schema))?;
        let action = uid("Action", action)?;
        let schema = Some(&self.schema);
        let request = Request::new(principal, action, resource, Context::empty(), schema)?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        // Cedar leaves a policy out that has an error. It may be the one that forbids.
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(error.to_string().into());
        }
        Ok(response.decision() == Decision::Allow)
    }
}

/// Never made by formatting and parsing: an id may have a quote in it.
fn uid(kind: &str, id: &str) -> Built<EntityUid> {
    let kind = EntityTypeName::from_str(kind)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

impl Authorize for Cedar {
    type Future = Ready<Result<(), AuthorizeError>>;

    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(self.decide(context, head))
    }
}

/// A service with documents of two tenants, in which the headers say who asks.
fn app(policies: &str) -> Router {
    let of = |owner, tenant| Document { owner, tenant };
    let documents = HashMap::from([
        ("plan", of("alice", "acme")),
        ("other-plan", of("alice", "globex")),
        ("quoted", of("a\"b", "acme")),
    ]);
    let policies = Cedar::new(policies, documents).expect("valid policies");
    let strategy = from_fn(CredentialSource::header("x-user"), |head| {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let Some(user) = text("x-user") else {
            return Outcome::Absent;
        };
        let tenant: TenantId = text("x-tenant")
            .unwrap_or("acme")
            .parse()
            .expect("a tenant");
        let grants = Grants::new().with_roles(text("x-role"));
        Identity::proved(user.parse::<UserId>().expect("an id"))
            .with_tenant_id(tenant)
            .with_attribute(grants)
            .into()
    });
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .authorize_with(policies)
        .context_only()
        .build()
        .expect("a valid configuration");
    Router::new()
        .route("/documents/{id}", any(async || "a document"))
        .layer(layer)
}

/// The status, and the reason that is in the audit event.
async fn ask(app: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = http::Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    for (name, value) in headers {
        let name = http::HeaderName::from_str(name).expect("a name");
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().insert(name, value);
    }
    let response = app.clone().oneshot(request).await.expect("infallible");
    let rejection = response.extensions().get::<Rejection>();
    let reason = match rejection.map(Rejection::kind) {
        Some(RejectionKind::Forbidden { forbidden, .. }) => forbidden.reason(),
        _ => "",
    };
    (response.status().as_u16(), reason.to_owned())
}

#[tokio::test]
async fn policies_decide_who_may_do_what_with_which_document() {
    let app = app(POLICIES);
    let (ok, denied) = ((200, ""), (403, "denied_by_policy"));
    let (read, write) = (Method::GET, Method::PUT);
    for (headers, method, document, wanted) in [
        (&[("x-user", "alice")][..], &read, "plan", ok),
        (&[("x-user", "alice")], &write, "plan", ok),
        (&[("x-user", "bob")], &read, "plan", denied),
        (
            &[("x-user", "bob"), ("x-role", "editor")],
            &read,
            "plan",
            ok,
        ),
        (
            &[("x-user", "bob"), ("x-role", "editor")],
            &write,
            "plan",
            denied,
        ),
        (
            &[("x-user", "bob"), ("x-role", "Editor")],
            &read,
            "plan",
            denied,
        ),
        // One id in two tenants is two users.
        (
            &[("x-user", "alice"), ("x-tenant", "globex")],
            &read,
            "plan",
            denied,
        ),
        (&[("x-user", "alice")], &read, "other-plan", denied),
        (
            &[("x-user", "alice"), ("x-tenant", "globex")],
            &read,
            "other-plan",
            ok,
        ),
        // An id is data, whatever is in it.
        (&[("x-user", "a\"b")], &read, "quoted", ok),
        (&[("x-user", "\" || true || \"")], &read, "plan", denied),
        (
            &[("x-user", "alice")],
            &read,
            "none",
            (403, "no_such_document"),
        ),
        (&[], &read, "plan", (401, "")),
    ] {
        let path = format!("/documents/{document}");
        let (status, reason) = ask(&app, method.clone(), &path, headers).await;
        assert_eq!(
            (status, &*reason),
            wanted,
            "{headers:?} {method} {document}"
        );
    }
}

/// Without the error, the permit alone would count.
#[tokio::test]
async fn a_policy_that_fails_lets_nobody_through() {
    // The sum overflows, which no validator can know.
    let policies = format!(
        "{POLICIES} forbid (principal, action, resource) when {{ 9223372036854775807 + 1 > 0 }};"
    );
    let app = app(&policies);
    let answer = ask(&app, Method::GET, "/documents/plan", &[("x-user", "alice")]).await;
    let forbidden = StatusCode::FORBIDDEN.as_u16();
    assert_eq!(answer, (forbidden, "policy_failed".to_owned()));
}

#[test]
fn a_policy_that_does_not_fit_the_schema_is_an_error_at_start() {
    for wrong in [
        "permit (principal, action, resource) when { resource.ovner == principal };",
        "permit (principal, action == Action::\"delete\", resource);",
        "permit (principal, action",
    ] {
        assert!(Cedar::new(wrong, HashMap::new()).is_err(), "{wrong}");
    }
}
