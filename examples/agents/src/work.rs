//! The unit of work of one request, or of one step of a job: a transaction that begins when it is first
//! needed.
//!
//! The layer commits it before the response goes out, and only for a success, so that a client that
//! got a 2xx can rely on it. On every other way out it is dropped, and the driver rolls it back.
//!
//! Its futures are in boxes, because the compiler can't see through sqlx's `Any` that they are `Send`.

use futures::future::BoxFuture;
use sqlx::{
    Any, Transaction,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use tokio::sync::Mutex;
use tower_user_scope::UserId;

use crate::database::Database;

pub(crate) struct Work {
    database: Database,
    user: UserId,
    state: Mutex<State>,
}

enum State {
    NotBegun,
    Open(Transaction<'static, Any>),
    /// A statement was given up on: nothing of this transaction may be committed.
    Lost,
    /// The response is decided: nothing may begin that nobody would commit.
    Finished,
}

impl Work {
    pub(crate) fn new(database: Database, user: UserId) -> Self {
        Self {
            database,
            user,
            state: Mutex::new(State::NotBegun),
        }
    }

    /// Returns the rows of a query with these values, in the transaction.
    pub(crate) fn fetch(
        &self,
        sql: &'static str,
        values: &[&str],
    ) -> BoxFuture<'_, sqlx::Result<Vec<AnyRow>>> {
        let query = bound(sql, values);
        Box::pin(async {
            let mut state = self.state.lock().await;
            let mut transaction = self.take(&mut state).await?;
            let rows = query.fetch_all(&mut *transaction).await?;
            *state = State::Open(transaction);
            Ok(rows)
        })
    }

    /// Executes a statement in the transaction, and returns how many rows it has changed.
    pub(crate) fn execute(
        &self,
        sql: &'static str,
        values: &[&str],
    ) -> BoxFuture<'_, sqlx::Result<u64>> {
        let query = bound(sql, values);
        Box::pin(async {
            let mut state = self.state.lock().await;
            let mut transaction = self.take(&mut state).await?;
            let done = query.execute(&mut *transaction).await?;
            *state = State::Open(transaction);
            Ok(done.rows_affected())
        })
    }

    /// Takes the transaction for one statement. It counts as lost until it is put back, so a statement
    /// that fails, or whose caller gives up, takes all of it along.
    async fn take(&self, state: &mut State) -> sqlx::Result<Transaction<'static, Any>> {
        match std::mem::replace(state, State::Lost) {
            State::NotBegun => self.begin().await,
            State::Open(transaction) => Ok(transaction),
            State::Lost => Err(sqlx::Error::Protocol("an earlier statement failed".into())),
            State::Finished => Err(sqlx::Error::Protocol("the response is decided".into())),
        }
    }

    /// Begins a transaction in which `PostgreSQL` shows the rows of this user only.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Any>> {
        let mut transaction = self.database.pool.begin().await?;
        if self.database.has_row_level_security {
            // The third argument makes it end with the transaction. The connection goes back to the
            // pool.
            bound(
                "SELECT set_config('app.user_id', $1, true)",
                &[self.user.as_str()],
            )
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction)
    }

    /// Commits, and lets the next step begin anew: for a job, which waits for the model between its
    /// steps and must not keep a connection meanwhile.
    pub(crate) async fn commit(&self) -> sqlx::Result<()> {
        self.end(State::NotBegun, true).await
    }

    /// Commits or rolls back for good: for a request.
    pub(crate) async fn finish(&self, commit: bool) -> sqlx::Result<()> {
        self.end(State::Finished, commit).await
    }

    fn end(&self, then: State, commit: bool) -> BoxFuture<'_, sqlx::Result<()>> {
        Box::pin(async move {
            let state = std::mem::replace(&mut *self.state.lock().await, then);
            match state {
                State::Open(transaction) if commit => transaction.commit().await,
                State::Open(transaction) => transaction.rollback().await,
                State::Lost if commit => Err(sqlx::Error::Protocol("a statement failed".into())),
                State::NotBegun | State::Lost | State::Finished => Ok(()),
            }
        })
    }
}

/// Returns a statement with its values, which are sent apart from it.
pub(crate) fn bound(
    sql: &'static str,
    values: &[&str],
) -> Query<'static, Any, AnyArguments<'static>> {
    let query = sqlx::query(sql);
    (values.iter()).fold(query, |query, value| query.bind((*value).to_owned()))
}
