//! HTTP/2 to the provider, played frame by frame (RFC 9113): what a connection that ends says of the requests on it.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use crate::daemon::{Daemon, refresh};
use crate::frames::{Connection, Frames, INTERNAL_ERROR, REFUSED_STREAM, TOKENS, offering_http2};
use crate::provider::{Gate, Provider, json};
use crate::within;

impl Connection {
    /// Ends the next request instead of answering it. Whether the connection goes on.
    async fn end_request(&mut self, end: End) -> bool {
        let (stream, body) = self.request().await;
        assert_eq!(body, refresh("r1"));
        match end {
            End::GoesAwayBefore => self.go_away(0, "").await,
            End::Refuses => self.reset(stream, REFUSED_STREAM).await,
            End::GoesAwayAfter => self.go_away(stream, "").await,
            End::Resets => self.reset(stream, INTERNAL_ERROR).await,
            End::Closes => {}
        }
        !matches!(end, End::GoesAwayAfter | End::Closes)
    }
}

/// How the provider ends a request instead of answering it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The last stream that it has processed or will is an earlier one (RFC 9113 section 6.8).
    GoesAwayBefore,
    /// It vouches for not having processed it (section 8.7).
    Refuses,
    GoesAwayAfter,
    Resets,
    Closes,
}

/// Two refreshes: the second is sent when `begins` is open, and `ends` is opened when it is answered. Their statuses.
async fn one_then_another(daemon: &Daemon, begins: &Gate, ends: &Gate) -> (u16, u16) {
    let (r1, r2) = (refresh("r1"), refresh("r2"));
    let second = async {
        begins.passed().await;
        let answer = daemon.post(&r2).await;
        ends.open();
        answer
    };
    let (first, second) = tokio::join!(daemon.post(&r1), second);
    (first.status().as_u16(), second.status().as_u16())
}

#[tokio::test]
async fn only_what_the_provider_vouches_for_counts_as_not_processed() {
    let ends = [
        (&[End::GoesAwayBefore, End::GoesAwayBefore][..], "not_processed"),
        (&[End::Refuses, End::Refuses], "not_processed"),
        (&[End::Refuses, End::Resets], "unknown"),
        (&[End::GoesAwayAfter], "unknown"),
        (&[End::Resets], "unknown"),
        (&[End::Closes], "unknown"),
    ];
    for (end, counted) in ends {
        let provider = Frames::listen().await;
        let daemon = provider.daemon().await;
        let playing = async {
            let mut open = Vec::new();
            for end in end {
                let mut connection = provider.accept().await;
                // Left open where that was not the end of it.
                if connection.end_request(*end).await {
                    open.push(connection);
                }
            }
            open
        };

        let body = refresh("r1");
        let (answer, _open) = tokio::join!(daemon.post(&body), playing);

        assert_eq!(answer.status(), 503, "{end:?}");
        let metrics = daemon.get("/metrics").await.1;
        assert!(metrics.contains(&format!("\nrefreshd_{counted}_total 1\n")), "{end:?}: {metrics}");
    }
}

#[tokio::test]
async fn what_the_provider_vouches_for_not_having_processed_is_asked_once_more_elsewhere() {
    for end in [End::GoesAwayBefore, End::Refuses] {
        let provider = Frames::listen().await;
        let daemon = provider.daemon().await;
        let playing = async {
            let mut one = provider.accept().await;
            one.end_request(end).await;
            let mut other = provider.accept().await;
            let (stream, body) = other.request().await;
            assert_eq!(body, refresh("r1"));
            other.answer(stream).await;
            (one, other)
        };

        let body = refresh("r1");
        let (answer, _open) = tokio::join!(daemon.post(&body), playing);

        assert_eq!(answer.status(), 200, "{end:?}");
    }
}

#[tokio::test]
async fn provider_that_refuses_streams_was_reached_and_the_next_request_is_sent() {
    const REFUSED: usize = 6;
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut open = Vec::new();
        for _ in 0..2 * REFUSED {
            let mut connection = provider.accept().await;
            let (stream, _) = connection.request().await;
            connection.reset(stream, REFUSED_STREAM).await;
            open.push(connection);
        }
        let mut connection = provider.accept().await;
        let (stream, _) = connection.request().await;
        connection.answer(stream).await;
        open.push(connection);
        open
    };
    let asking = async {
        for number in 0..REFUSED {
            let answer = daemon.post(&refresh(&format!("r{number}"))).await;
            assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
            let body = within(answer.text()).await.expect("text");
            assert!(body.contains("did not process"), "{body}");
        }
        daemon.post(&refresh("last")).await.status()
    };

    let (status, _open) = tokio::join!(asking, playing);

    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_the_provider_says_for_debugging_as_it_goes_away_is_not_logged() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut connection = provider.accept().await;
            let (_, body) = connection.request().await;
            connection.go_away(0, &body).await;
            open.push(connection);
        }
        open
    };

    let body = refresh("s3cr3t");
    let (_, _open) = tokio::join!(daemon.post(&body), playing);

    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(!line.contains("s3cr3t") && line.contains("the connection was closed"), "{line}");
}

#[tokio::test]
async fn request_after_the_provider_said_that_it_goes_away_goes_to_another_connection() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let (going, answered) = (Gate::closed(), Gate::closed());
    let playing = async {
        let mut one = provider.accept().await;
        let (first, _) = one.request().await;
        one.go_away(first, "").await;
        one.is_read().await;
        going.open();
        let mut other = tokio::select! {
            other = provider.accept() => other,
            () = answered.passed() => panic!("no other connection was opened"),
        };
        let (second, body) = other.request().await;
        assert_eq!(body, refresh("r2"));
        other.answer(second).await;
        one.answer(first).await;
        (one, other)
    };
    let (statuses, _open) = tokio::join!(one_then_another(&daemon, &going, &answered), playing);

    assert_eq!(statuses, (200, 200));
}

#[tokio::test]
async fn who_finds_a_connection_that_came_about_meanwhile_opens_no_other() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        // Both are asked for while there is none.
        let (one, other) = (provider.connected().await, provider.connected().await);
        let mut connection = Connection::begin(provider.secured(one).await).await;
        let (first, _) = connection.request().await;
        // Until its settings are known it has room for one request.
        connection.is_read().await;

        let mut unused = provider.secured(other).await;
        let (second, _) = connection.request().await;
        let mut rest = Vec::new();
        _ = within(unused.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "nothing was asked on it");

        connection.answer(first).await;
        connection.answer(second).await;
        connection
    };
    let asking = async {
        let (r1, r2) = (refresh("r1"), refresh("r2"));
        let (first, second) = tokio::join!(daemon.post(&r1), daemon.post(&r2));
        (first.status().as_u16(), second.status().as_u16())
    };

    let (statuses, _open) = tokio::join!(asking, playing);

    assert_eq!(statuses, (200, 200));
}

#[tokio::test]
async fn what_bounced_off_one_connection_is_not_asked_on_another_that_drains_with_it() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let (is_full, has_room) = (Gate::closed(), Gate::closed());
    let playing = async {
        let mut one = provider.accept().await;
        one.request().await;
        one.allow_streams(1).await;
        is_full.open();
        let mut other = provider.accept().await;
        let (second, _) = other.request().await;
        other.answer(second).await;
        has_room.passed().await;

        one.go_away(0, "").await;
        let third = provider.secured(provider.connected().await).await;
        let third = async {
            let mut third = Connection::begin(third).await;
            let (stream, body) = third.request().await;
            assert_eq!(body, refresh("r1"));
            third.answer(stream).await;
            third
        };
        tokio::select! {
            third = third => (one, third),
            (_, body) = other.request() => panic!("asked on a connection that was open before: {body}"),
        }
    };
    let (statuses, _open) = tokio::join!(one_then_another(&daemon, &is_full, &has_room), playing);

    assert_eq!(statuses, (200, 200));
}

#[tokio::test]
async fn connection_that_fell_silent_is_not_asked_again() {
    let (ca, tls) = offering_http2();
    let provider = Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |seen| {
        if seen.body == refresh("r2") {
            std::future::pending::<()>().await;
        }
        json(200, TOKENS)
    })
    .await;
    let ca = ca.path().to_str().expect("UTF-8");
    let limits = ["--upstream-timeout", "3s", "--connect-timeout", "2500ms"];
    let daemon = Daemon::start(&provider, &[&["--ca-file", ca][..], &limits].concat()).await;

    for (token, status) in [("r1", 200), ("r2", 503), ("r3", 200)] {
        assert_eq!(daemon.post(&refresh(token)).await.status(), status, "{token}");
    }

    let connections: Vec<usize> = provider.seen().into_iter().map(|seen| seen.connection).collect();
    assert!(connections[0] == connections[1] && connections[1] != connections[2], "{connections:?}");
}

#[tokio::test]
async fn connection_that_goes_away_is_counted_until_all_on_it_is_answered() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let (going, open, answered) = (Gate::closed(), Gate::closed(), Gate::closed());
    let playing = async {
        let mut one = provider.accept().await;
        let (first, _) = one.request().await;
        one.go_away(first, "").await;
        one.is_read().await;
        going.open();
        let mut other = provider.accept().await;
        let (second, _) = other.request().await;
        open.open();
        answered.passed().await;
        one.answer(first).await;
        other.answer(second).await;
        (one, other)
    };
    let asking = async {
        let (r1, r2) = (refresh("r1"), refresh("r2"));
        let second = async {
            going.passed().await;
            daemon.post(&r2).await
        };
        let counted = async {
            open.passed().await;
            let metrics = daemon.get("/metrics").await.1;
            answered.open();
            metrics
        };
        tokio::join!(daemon.post(&r1), second, counted)
    };

    let ((first, second, counted), _open) = tokio::join!(asking, playing);

    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert!(counted.contains("\nrefreshd_provider_connections 2\n"), "{counted}");
}
