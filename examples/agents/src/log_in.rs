//! Accounts and sessions: signing up, logging in, and logging out, which ends the session's open
//! streams. These routes are outside of the layer, because whoever logs in is nobody yet.
//!
//! A real service may leave all of this to an identity provider. What stays is what happens after a
//! password was right, or the provider has said so: see [`begin`].

use std::{sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString, rand_core::OsRng},
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use sqlx::Row;
use tokio::sync::Semaphore;
use tower_sessions::{
    Expiry, Session, SessionManagerLayer, SessionStore,
    cookie::{SameSite, time},
};
use tower_user_scope::{
    UserId,
    open_scopes::{OpenScopes, Revocation},
};

use crate::{database::Database, work::bound};

/// From log-in to the end, whatever the user does meanwhile.
pub(crate) const SESSION: Duration = Duration::from_secs(8 * 3_600);

/// Hashing takes a whole core and 19 MiB for each password, and anybody can ask for it.
const HASHED_AT_A_TIME: usize = 2;
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Accounts {
    database: Database,
    open: OpenScopes,
    hashing: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct LogIn {
    name: String,
    password: String,
}

pub(crate) fn routes<S>(
    cookie: &'static str,
    https: bool,
    sessions: S,
    open: OpenScopes,
    database: Database,
) -> Router
where
    S: SessionStore + Clone,
{
    let cookies = SessionManagerLayer::new(sessions)
        .with_name(cookie)
        .with_secure(https)
        .with_http_only(true)
        // Not sent with any request that another site makes.
        .with_same_site(SameSite::Strict)
        .with_expiry(Expiry::OnInactivity(
            time::Duration::try_from(SESSION).unwrap_or_default(),
        ));
    Router::new()
        .route("/sign-up", post(sign_up))
        .route("/log-in", post(log_in))
        .route("/log-out", post(log_out))
        .layer(cookies)
        .with_state(Accounts {
            database,
            open,
            hashing: Arc::new(Semaphore::new(HASHED_AT_A_TIME)),
        })
}

/// Begins the session of a user who has been proved.
async fn begin(session: &Session, user: &str) -> Result<(), Refused> {
    // A new id: one that somebody else has planted is worth nothing after this.
    session.cycle_id().await?;
    Ok(session.insert("user_id", user).await?)
}

async fn sign_up(
    State(accounts): State<Accounts>,
    session: Session,
    Json(wanted): Json<LogIn>,
) -> Result<StatusCode, Refused> {
    // By the rules of the layer, so that no session has a name which it then refuses.
    let name: UserId = wanted.name.parse().map_err(|_| Refused::Name)?;
    if !(8..=200).contains(&wanted.password.len()) {
        return Err(Refused::Password);
    }
    let password = wanted.password;
    let hash = accounts
        .hashed(move |argon2| {
            let salt = SaltString::generate(&mut OsRng);
            argon2
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
        })
        .await?
        .map_err(|_| Refused::Password)?;
    let sql = "INSERT INTO accounts (id, password) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let added = bound(sql, &[name.as_str(), &hash])
        .execute(&accounts.database.pool)
        .await?;
    if added.rows_affected() == 0 {
        return Err(Refused::Taken);
    }
    begin(&session, name.as_str()).await?;
    Ok(StatusCode::CREATED)
}

async fn log_in(
    State(accounts): State<Accounts>,
    session: Session,
    Json(sent): Json<LogIn>,
) -> Result<StatusCode, Refused> {
    let query = bound("SELECT password FROM accounts WHERE id = $1", &[&sent.name]);
    let found = query.fetch_optional(&accounts.database.pool).await?;
    let found: Option<String> = found.map(|row| row.get("password"));
    let password = sent.password;
    let is_right = accounts
        .hashed(move |argon2| {
            // As long for a name that is not there.
            let Some(hash) = found else {
                let salt = SaltString::generate(&mut OsRng);
                let _ = argon2.hash_password(password.as_bytes(), &salt);
                return false;
            };
            PasswordHash::new(&hash)
                .and_then(|hash| argon2.verify_password(password.as_bytes(), &hash))
                .is_ok()
        })
        .await?;
    if !is_right {
        return Err(Refused::NameOrPassword);
    }
    begin(&session, &sent.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the session, and the streams that were opened with it.
async fn log_out(
    State(accounts): State<Accounts>,
    session: Session,
) -> Result<StatusCode, Refused> {
    // Deleted first: a stream that connects again at once must not find it.
    let id = session.id();
    session.flush().await?;
    if let Some(id) = id {
        let revocation = Revocation::of_session(id.to_string()).as_log_out();
        if let Err(error) = accounts.open.revoke(revocation) {
            tracing::warn!(%error, "a log-out could not be remembered");
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Accounts {
    /// Hashes a password on a thread where nobody waits for requests.
    async fn hashed<T: Send + 'static>(
        &self,
        hash: impl FnOnce(Argon2<'static>) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let place = tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.hashing).acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(Refused::Unavailable);
        };
        let work = move || {
            let _place = place;
            hash(Argon2::default())
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Refused::Unavailable)
    }
}

enum Refused {
    Name,
    Password,
    Taken,
    NameOrPassword,
    Unavailable,
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "accounts can't be read");
        Self::Unavailable
    }
}

impl From<tower_sessions::session::Error> for Refused {
    fn from(error: tower_sessions::session::Error) -> Self {
        tracing::error!(%error, "sessions can't be read");
        Self::Unavailable
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Name => (StatusCode::BAD_REQUEST, "This can't be a name."),
            Self::Password => (StatusCode::BAD_REQUEST, "A password has 8 to 200 bytes."),
            Self::Taken => (StatusCode::CONFLICT, "This name is taken."),
            Self::NameOrPassword => (StatusCode::UNAUTHORIZED, "Name or password is wrong."),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Try again later."),
        };
        (status, text).into_response()
    }
}
