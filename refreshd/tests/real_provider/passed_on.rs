//! Token requests that are no refresh: passed on once each, as they are.

use std::collections::HashSet;

use crate::fleet::{Fleet, Request};
use crate::provider::Provider;

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_get_a_token_each() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "machine", &[]).await;
    let request = Request::new("machine", &[("grant_type", "client_credentials")]);

    let answers = fleet.answers(&request, 9).await;

    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let tokens: HashSet<_> = answers.iter().map(|answer| answer.field("access_token").expect("a token")).collect();
    assert_eq!(tokens.len(), 9);
    assert_eq!(provider.requests("client_credentials"), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_grant_is_refused_by_the_provider_in_its_own_words() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "nonsense", &[]).await;
    let request = Request::new("app", &[("grant_type", "nonsense")]);

    let answers = fleet.answers(&request, 3).await;

    assert_eq!(provider.requests("nonsense"), 3);
    let directly = request.send(provider.url()).await;
    assert_eq!((directly.status, directly.field("error").as_deref()), (400, Some("unsupported_grant_type")));
    assert!(answers.iter().all(|answer| *answer == directly), "{answers:?}");
}
