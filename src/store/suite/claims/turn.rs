//! How a claim of a login comes to a store: what its flight is told, and what it leads when it is its turn.

use crate::store::suite::chains::{by, to};
use crate::store::suite::stage::*;
use crate::store::{Coming, Followed, NewsSource};

pub(in crate::store) fn claim(stage: &Stage, token: &str, scope: &str) -> Ask {
    by(stage, Refresh::new(token).client("app", "pw").parameters([("scope", scope)]), Coming::Directly)
}

pub(in crate::store) fn walker(stage: &Stage, token: &str, scope: &str, coming: Coming) -> Ask {
    let mut ask = claim(stage, token, scope);
    ask.coming = coming;
    ask
}

/// As [`to`], with an access token that is good for a second.
pub(in crate::store) fn briefly_to(next: &str) -> Arc<Outcome> {
    let tokens = format!(r#"{{"access_token":"of {next}","expires_in":2,"refresh_token":"{next}"}}"#);
    Arc::new(Outcome::Success(TokenResponse::from_json(tokens).expect("tokens").keeping(false)))
}

pub(in crate::store) async fn follow(store: &Store, ask: &Ask) -> Followed {
    store.follow(ask, None, true).await.expect("an answer")
}

/// What the flight comes to that begins with the caller's own token and follows where it is told to.
pub(in crate::store) async fn comes(stage: &Stage, ask: &mut Ask) -> Followed {
    match begin(&stage.b, ask).await {
        Begun::Claims => follow(&stage.b, ask).await,
        Begun::Ended => Followed::Ended,
        other => panic!("no other claims: {other:?}"),
    }
}

/// Waits among the claims of its login.
pub(in crate::store) async fn waits(stage: &Stage, ask: &mut Ask) -> NewsSource {
    match comes(stage, ask).await {
        Followed::Wait(news) => news,
        other => panic!("does not wait: {other:?}"),
    }
}

/// A flight whose turn it is leads what it is told to present.
pub(in crate::store) struct Turn {
    pub(in crate::store) ask: Ask,
    pub(in crate::store) lease: Lease,
}

impl Turn {
    pub(in crate::store) async fn take(stage: &Stage, mut own: Ask, followed: Followed) -> Self {
        let ask = match followed {
            Followed::Own(origin) => {
                (own.coming, own.origin) = (Coming::InTurn, Some(origin));
                own
            }
            Followed::Newest { token, origin } => {
                let member = own.identity.chain.as_ref().expect("a chain");
                let request = member.with_token(token.expose(), 1024).expect("valid");
                let mut next = Ask::new(stage.b.identity(request, &stage.config), Uuid::new_v4());
                (next.coming, next.origin) = (Coming::Claiming { from: origin.place }, Some(origin));
                next
            }
            other => panic!("not its turn: {other:?}"),
        };
        let lease = lead(&stage.b, &ask).await;
        Self { ask, lease }
    }

    /// Comes with its own token, and it is its turn at once.
    pub(in crate::store) async fn at_once(stage: &Stage, token: &str, scope: &str) -> Self {
        let mut own = claim(stage, token, scope);
        let followed = comes(stage, &mut own).await;
        Self::take(stage, own, followed).await
    }

    /// It has waited, and was called.
    pub(in crate::store) async fn called(stage: &Stage, own: Ask, mut news: NewsSource) -> Self {
        assert!(matches!(news.news().await, News::BeginAgain));
        let followed = follow(&stage.b, &own).await;
        Self::take(stage, own, followed).await
    }

    pub(in crate::store) fn token(&self) -> &str {
        self.ask.identity.entitlement.token.expose()
    }

    pub(in crate::store) async fn lands(self, stage: &Stage, outcome: &Arc<Outcome>) {
        assert!(matches!(complete(&stage.b, &self.lease, &self.ask, outcome).await, Standing::Ours));
    }
}

pub(in crate::store) async fn is_not_called(news: &mut NewsSource) {
    assert!(tokio::time::timeout(200 * MS, news.news()).await.is_err(), "it was called");
}

pub(in crate::store) async fn is_spent(stage: &Stage, token: &str, scope: &str) {
    let mut ask = claim(stage, token, scope);
    let followed = comes(stage, &mut ask).await;
    assert!(matches!(followed, Followed::Spent), "{followed:?}");
}

/// `a` has had the first token rotated, and `b`, which came with that, too, the second: `a` has the second, and `b` the third.
pub(in crate::store) async fn two_claims(stage: &Stage) {
    let (first, mut own) = (claim(stage, "one", "a"), claim(stage, "one", "b"));
    let lease = lead(&stage.a, &first).await;
    let news = waits(stage, &mut own).await;
    complete(&stage.a, &lease, &first, &to("two")).await;
    Turn::called(stage, own, news).await.lands(stage, &to("three")).await;
    stage.pass(3 * S).await;
}
