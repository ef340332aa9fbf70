//! [`Jwt`]s for tokens of well-known issuers: what each documents as its rules, and what its tokens are
//! mixed up with.
//!
//! Each function returns a [`Jwt`] that still wants its [`audience`](Jwt::audience), and sets nothing
//! that the public methods of `Jwt` can't set or replace. Keys are fetched when the first token comes,
//! by [`RemoteKeys`]; [`Jwt::keys`] replaces them.
//!
//! | issuer | accepted | audience | principal | grants |
//! | --- | --- | --- | --- | --- |
//! | [`auth0`] | access tokens | identifier of the API | `sub` | `scope`, `permissions` |
//! | [`okta`] | access tokens | of the authorization server | `uid` | `scp`, `groups` |
//! | [`keycloak`] | access tokens | of an audience mapper | `sub` | `scope`, realm roles |
//! | [`entra_id`] | access tokens, version 2 | id of the API's app | `oid` in `tid` | `scp`, `roles` |
//! | [`cognito`] | access tokens | id of the app client | `sub` | `scope`, `cognito:groups` |
//! | [`google_iap`] | IAP's header | of the backend | `sub` | |
//! | [`cloudflare_access`] | Access' header | tag of the application | `sub` | |
//! | [`firebase`] | ID tokens | the project | `sub` | |
//! | [`github_actions`] | job tokens | of the job's request | service `sub` | |
//! | [`kubernetes`] | service account tokens | of the projected volume | service `sub` | |
//!
//! A token that a client got for itself (RFC 6749 section 4.4) is refused by [`okta`]. Those of [`auth0`],
//! [`keycloak`], [`entra_id`] and [`cognito`] are accepted, and their principal is a user with an id that
//! no person has; make services of them with [`Jwt::identity`].
//!
//! ```
//! use tower_user_scope::{ConfigError, UserScopeLayer, authorize::Require, jwt::presets};
//!
//! # fn layer() -> Result<(), ConfigError> {
//! let layer = UserScopeLayer::builder()
//!     .strategy(presets::auth0("tenant.eu.auth0.com").audience("https://api.example"))
//!     .authorize_with(Require::new().scope("orders:read"))
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```

use serde::Deserialize;

use super::{HasIssuer, Jwt, RemoteKeys, VerifiedToken, WantsAudience};
use crate::{
    context::{Identity, ServiceName},
    strategy::InvalidError,
    token::TokenSource,
};

/// Accepts access tokens that Auth0 issues for an API; `domain` is the tenant's, such as
/// `tenant.eu.auth0.com`, or a custom domain.
///
/// The audience is the API's identifier. Permissions are roles of the
/// [`Grants`](crate::authorize::Grants) if the API adds them to its tokens.
#[must_use]
pub fn auth0(domain: &str) -> Jwt<HasIssuer, WantsAudience> {
    // With the slash: `iss` has it.
    discovered(format!("https://{domain}/"))
        .scope_claim("scope")
        .role_claim("permissions")
}

/// Accepts access tokens of an authorization server of Okta, such as `default`; `domain` is the
/// organization's.
///
/// The audience is the authorization server's, `api://default` for the default one. The user's id is
/// `uid`, which stays when the login name changes; a token that a client got for itself has none and is
/// refused.
#[must_use]
pub fn okta(domain: &str, authorization_server: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered(format!("https://{domain}/oauth2/{authorization_server}"))
        .user_id_claim("uid")
        .scope_claim("scp")
        .role_claim("groups")
}

/// Accepts access tokens of a realm of Keycloak at `base_url`, such as `https://id.example`.
///
/// The audience is what an audience mapper of the client adds; without one it is `account`, for every
/// client of the realm. ID and refresh tokens are refused by their `typ` claim. Where the keys have
/// another address than `iss` says, as within a cluster, set them with [`Jwt::keys`] and
/// [`RemoteKeys::discover_at`].
#[must_use]
pub fn keycloak(base_url: &str, realm: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered(format!("{base_url}/realms/{realm}"))
        .require_claim("typ", ["Bearer"])
        .scope_claim("scope")
        .role_claim_at("realm_access", ["roles"])
}

/// Accepts access tokens, of version 2.0, that Microsoft Entra ID issues in one tenant; `tenant_id` is the
/// tenant's GUID.
///
/// The audience is the application id of the API. ID tokens are refused: they have no `azp`. The user's
/// id is `oid`, which is the same in all applications, and the context's tenant is `tid`. For several
/// tenants see [the guide](crate::guide::choosing_strategies#several-tenants-of-one-provider).
#[must_use]
pub fn entra_id(tenant_id: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered(format!(
        "https://login.microsoftonline.com/{tenant_id}/v2.0"
    ))
    .require_claim("tid", [tenant_id])
    .require_claim_present("azp")
    .user_id_claim("oid")
    .tenant_claim("tid")
    .scope_claim("scp")
    .role_claim("roles")
}

/// Accepts access tokens of a user pool of Amazon Cognito.
///
/// The audience is the id of the app client, which access tokens have in `client_id`. ID tokens are
/// refused by their `token_use`.
#[must_use]
pub fn cognito(region: &str, user_pool_id: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered(format!(
        "https://cognito-idp.{region}.amazonaws.com/{user_pool_id}"
    ))
    .audience_claim("client_id")
    .require_claim("token_use", ["access"])
    .scope_claim("scope")
    .role_claim("cognito:groups")
}

/// Accepts the header that Google's Identity-Aware Proxy adds, `x-goog-iap-jwt-assertion`.
///
/// The audience names the backend: `/projects/NUMBER/global/backendServices/ID` or
/// `/projects/NUMBER/apps/PROJECT`. The user's id is IAP's `sub`, such as
/// `accounts.google.com:118133858486581853996`, which stays when the e-mail address changes.
#[must_use]
pub fn google_iap() -> Jwt<HasIssuer, WantsAudience> {
    Jwt::new(RemoteKeys::from_url(
        "https://www.gstatic.com/iap/verify/public_key-jwk",
    ))
    .issuer("https://cloud.google.com/iap")
    .token_source(TokenSource::header("x-goog-iap-jwt-assertion"))
}

/// Accepts the header that Cloudflare Access adds, `cf-access-jwt-assertion`; `team` is the first label of the
/// team's domain.
///
/// The audience is the application's AUD tag. Tokens of service tokens are refused: their `sub` is empty.
/// Make services of them with [`Jwt::identity`], from `common_name`.
#[must_use]
pub fn cloudflare_access(team: &str) -> Jwt<HasIssuer, WantsAudience> {
    let issuer = format!("https://{team}.cloudflareaccess.com");
    Jwt::new(RemoteKeys::from_url(format!(
        "{issuer}/cdn-cgi/access/certs"
    )))
    .issuer(issuer)
    .require_claim("type", ["app"])
    .token_source(TokenSource::header("cf-access-jwt-assertion"))
}

/// Accepts ID tokens of Firebase Authentication and Identity Platform; `project_id` is the audience too.
///
/// A session cookie of Firebase has another issuer and is refused. Users of all tenants of the project are
/// accepted, and of visitors without an account if the project has them; to tell them apart, read
/// `firebase` with [`Jwt::identity`].
#[must_use]
pub fn firebase(project_id: &str) -> Jwt<HasIssuer, WantsAudience> {
    const KEYS: &str =
        "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";
    Jwt::new(RemoteKeys::from_url(KEYS))
        .issuer(format!("https://securetoken.google.com/{project_id}"))
        .require_claim_present("auth_time")
}

/// Accepts tokens of the jobs of GitHub Actions in one repository, such as `octo-org/octo-repo`.
///
/// The audience is the one that the job asks for. The principal is a service whose name is the token's
/// `sub`, such as `repo:octo-org/octo-repo:ref:refs/heads/main`. Jobs of every branch and pull request
/// of the repository get such tokens: add
/// [`require_claim("ref", ..)`](Jwt::require_claim) or `require_claim("environment", ..)`. The name of a
/// repository can become another's after it was renamed or deleted: `require_claim("repository_id", ..)`.
#[must_use]
pub fn github_actions(repository: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered("https://token.actions.githubusercontent.com".to_owned())
        .require_claim("repository", [repository])
        .identity(workload)
}

/// Accepts tokens of the service accounts of a Kubernetes cluster, mounted by a projected volume; `issuer` is
/// the cluster's `--service-account-issuer`.
///
/// The audience is the volume's. The principal is a service whose name is the token's `sub`, such as
/// `system:serviceaccount:billing:worker`. Where the issuer is the API server itself, fetch the keys
/// with a client that trusts the cluster's certificate authority:
/// [`HttpsFetch::with_client`](super::HttpsFetch::with_client) and [`Jwt::keys`].
#[must_use]
pub fn kubernetes(issuer: &str) -> Jwt<HasIssuer, WantsAudience> {
    discovered(issuer.to_owned())
        .require_claim_present("kubernetes.io")
        .identity(workload)
}

fn discovered(issuer: String) -> Jwt<HasIssuer, WantsAudience> {
    Jwt::new(RemoteKeys::discover(issuer.clone())).issuer(issuer)
}

#[derive(Clone, Deserialize)]
struct Workload {
    sub: String,
}

/// A workload is a service, and never a user.
fn workload(_: &VerifiedToken, claims: &Workload) -> Result<Identity, InvalidError> {
    Ok(Identity::proved(ServiceName::try_from(&*claims.sub)?))
}
