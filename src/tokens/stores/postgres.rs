//! Sessions' tokens in PostgreSQL: a row for each session, compared and written by one statement.

use std::fmt;

use sqlx::{PgPool, Row};

use crate::identity::Hash;
use crate::secret::Secret;
use crate::tokens::session_tokens::SessionTokens;
use crate::tokens::store::{Swap, TokenStore};

/// Sessions' tokens in a table of PostgreSQL, shared by clones and by pods (feature `postgres`). **It holds tokens**: treat it as
/// a session store. Sessions are named by SHA-256 of their ids.
///
/// ```no_run
/// use refresh_coordinator::tokens::PostgresTokens;
///
/// # async fn connect() -> Result<(), sqlx::Error> {
/// let store = PostgresTokens::new(sqlx::PgPool::connect("postgres://app@db.internal/app").await?);
/// store.create_table().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PostgresTokens(PgPool);

impl PostgresTokens {
    /// The statement that makes the table, for those who make theirs by migrations.
    pub const TABLE: &'static str = "CREATE TABLE IF NOT EXISTS session_tokens (session text PRIMARY KEY, \
        refresh_token text NOT NULL, expires_at_ms bigint NOT NULL, tokens text NOT NULL)";

    /// A store over these connections.
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Makes the table, where it is not there ([`TABLE`](Self::TABLE)).
    ///
    /// # Errors
    ///
    /// What the database says.
    ///
    /// # Cancellation
    ///
    /// The table may have been made.
    pub async fn create_table(&self) -> Result<(), sqlx::Error> {
        sqlx::query(Self::TABLE).execute(&self.0).await.map(drop)
    }

    /// Begins a session, or lets it begin anew: at login.
    ///
    /// # Errors
    ///
    /// What the database says; the session may have begun.
    ///
    /// # Cancellation
    ///
    /// The session may have begun.
    pub async fn put(&self, session: &str, tokens: &SessionTokens) -> Result<(), sqlx::Error> {
        let statement = "INSERT INTO session_tokens (session, refresh_token, expires_at_ms, tokens) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (session) DO UPDATE SET refresh_token = excluded.refresh_token, \
            expires_at_ms = excluded.expires_at_ms, tokens = excluded.tokens";
        let new = sqlx::query(statement)
            .bind(name(session))
            .bind(tokens.refresh_token().expose())
            .bind(tokens.expires_at_ms())
            .bind(tokens.to_text().expose().to_owned());
        new.execute(&self.0).await.map(drop)
    }

    /// What stands there where a statement has changed nothing.
    async fn found(&self, session: &str) -> Result<Swap, sqlx::Error> {
        Ok(self.load(session).await?.map_or(Swap::Gone, Swap::Newer))
    }
}

impl TokenStore for PostgresTokens {
    type Error = sqlx::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, sqlx::Error> {
        let statement = "SELECT tokens FROM session_tokens WHERE session = $1";
        let row = sqlx::query(statement).bind(name(session)).fetch_optional(&self.0).await?;
        let Some(row) = row else { return Ok(None) };
        let text = Secret::from(row.try_get::<String, _>(0)?);
        SessionTokens::from_text(text.expose()).map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, sqlx::Error> {
        let statement = "UPDATE session_tokens SET refresh_token = $3, expires_at_ms = $4, tokens = $5 \
            WHERE session = $1 AND refresh_token = ANY($2) AND coalesce((tokens::json->>'writes')::bigint, 0) + 1 = $6";
        let written = sqlx::query(statement)
            .bind(name(session))
            .bind(texts(walked))
            .bind(new.refresh_token().expose())
            .bind(new.expires_at_ms())
            .bind(new.to_text().expose().to_owned())
            .bind(i64::from(new.writes()))
            .execute(&self.0)
            .await?;
        if written.rows_affected() == 1 { Ok(Swap::Written) } else { self.found(session).await }
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, sqlx::Error> {
        let statement = "DELETE FROM session_tokens WHERE session = $1 AND refresh_token = ANY($2)";
        let ended = sqlx::query(statement).bind(name(session)).bind(texts(refused)).execute(&self.0).await?;
        if ended.rows_affected() == 1 { Ok(Swap::Written) } else { self.found(session).await }
    }
}

fn name(session: &str) -> String {
    Hash::unkeyed(session).to_string()
}

fn texts(tokens: &[Secret]) -> Vec<String> {
    tokens.iter().map(|token| token.expose().to_owned()).collect()
}

impl fmt::Debug for PostgresTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTokens").finish_non_exhaustive()
    }
}
