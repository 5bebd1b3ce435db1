//! SIGTERM: nothing new, everything under way is answered, exit code 0.

use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::daemon::{Daemon, refresh};
use crate::provider::{Answer, Gate, Provider, json};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a","refresh_token":"r2"}"#;

#[tokio::test]
async fn what_is_under_way_at_sigterm_is_answered() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s"]).await;
    let address = daemon.address;

    let refresh = refresh("r1");
    let (led, passed_on, ()) =
        tokio::join!(daemon.post(&refresh), daemon.post("grant_type=client_credentials"), async {
            provider.asked(2).await;
            daemon.signal(Signal::SIGTERM);
            daemon.logged("draining").await;
            // The listener is closed a moment after the line is written.
            within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
            gate.open();
        });

    for answer in [led, passed_on] {
        assert_eq!(answer.status(), 200);
        assert_eq!(within(answer.text()).await.expect("text"), TOKENS);
    }
    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}

/// Servers that drain at SIGQUIT are stopped by it; what rotates logs sends SIGUSR1.
#[tokio::test]
async fn signals_of_users_end_no_flight_and_sigquit_drains() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s"]).await;

    let refresh = refresh("r1");
    let (led, ()) = tokio::join!(daemon.post(&refresh), async {
        provider.asked(1).await;
        for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
            daemon.signal(signal);
            daemon.logged(signal.as_str()).await;
        }
        assert_eq!(daemon.get("/readyz").await.0, 200);
        daemon.signal(Signal::SIGQUIT);
        daemon.logged("draining").await;
        gate.open();
    });

    assert_eq!(within(led.text()).await.expect("text"), TOKENS);
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[tokio::test]
async fn request_that_is_no_refresh_holds_the_drain_too() {
    // No flight: nothing but its connection tells that it is under way.
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s"]).await;

    let (answer, ()) = tokio::join!(daemon.post("grant_type=client_credentials"), async {
        provider.asked(1).await;
        daemon.signal(Signal::SIGTERM);
        daemon.logged("draining").await;
        within(async { while TcpStream::connect(daemon.address).await.is_ok() {} }).await;
        gate.open();
    });

    assert_eq!(within(answer.text()).await.expect("text"), TOKENS);
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[tokio::test]
async fn not_ready_while_draining() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s"]).await;
    // Ahead of the signal, as afterwards nobody is let in; the rest of its request comes when draining has begun.
    let mut probe = daemon.write(b"GET /readyz HTTP/1.1\r\n").await;
    let refresh = refresh("r1");

    let (answer, readiness) = tokio::join!(daemon.post(&refresh), async {
        provider.asked(1).await;
        daemon.signal(Signal::SIGTERM);
        daemon.logged("draining").await;
        // At once: who has not sent a whole request soon after that is not waited for.
        within(tokio::io::AsyncWriteExt::write_all(&mut probe, b"host: x\r\n\r\n")).await.expect("written");
        let readiness = crate::daemon::rest(probe).await;
        gate.open();
        readiness
    });

    assert!(readiness.starts_with("HTTP/1.1 503 ") && readiness.contains("draining"), "{readiness}");
    assert_eq!(answer.status(), 200);
}

/// A load balancer looks every few seconds: until it has looked, it sends new requests.
#[tokio::test]
async fn requests_are_taken_for_the_drain_delay_while_it_is_not_ready() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    gate.open();
    let daemon = Daemon::start(&provider, &["--drain-delay", "1500ms"]).await;
    let (address, refresh) = (daemon.address, refresh("r1"));
    daemon.signal(Signal::SIGTERM);
    daemon.logged("draining").await;

    let answer = daemon.post(&refresh).await;
    let (status, connection) = (answer.status(), answer.headers().get("connection").cloned());
    assert_eq!(within(answer.text()).await.expect("text"), TOKENS);
    let mut probe = daemon.write(b"GET /readyz HTTP/1.1\r\n").await;
    within(tokio::io::AsyncWriteExt::write_all(&mut probe, b"host: x\r\n\r\n")).await.expect("written");
    let readiness = crate::daemon::rest(probe).await;

    assert_eq!((status.as_u16(), connection.as_ref().map(|value| value.as_bytes())), (200, Some(&b"close"[..])));
    assert!(readiness.starts_with("HTTP/1.1 503 ") && readiness.contains("draining"), "{readiness}");
    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    TcpStream::connect(address).await.expect_err("the listener is closed");
}

/// The second signal of an operator who does not want to wait.
#[tokio::test]
async fn second_signal_ends_the_drain_delay() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain", "1h", "--drain-delay", "1h"]).await;
    daemon.signal(Signal::SIGTERM);
    daemon.logged("draining").await;

    daemon.signal(Signal::SIGTERM);

    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("signalled again"), "{log}");
}

#[tokio::test]
async fn provider_that_never_answers_does_not_hold_the_drain() {
    let provider = Provider::start(|_| std::future::pending::<Answer>()).await;
    let daemon = Daemon::start(&provider, &["--drain", "200ms", "--drain-delay", "0s"]).await;
    let request = format!("POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{}", 13, "grant_type=x!");
    let _caller = daemon.write(request.as_bytes()).await;
    provider.asked(1).await;

    daemon.signal(Signal::SIGTERM);

    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the deadline is over"), "{log}");
}

#[tokio::test]
async fn idle_daemon_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let gate = Gate::closed();
        let provider = Provider::behind(&gate, json(200, TOKENS)).await;
        // SIGINT closes the listener at once, whatever the delay.
        let delay = if signal == Signal::SIGTERM { "0s" } else { "1h" };
        let daemon = Daemon::start(&provider, &["--drain", "1h", "--drain-delay", delay]).await;

        daemon.signal(signal);

        assert_eq!(daemon.ended().await.0, Some(0));
    }
}

#[tokio::test]
async fn requests_that_wait_in_the_kernel_as_the_listener_closes_are_answered() {
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s", "--max-concurrent-refreshes", "100"]).await;
    // Nothing is accepted before it goes on, and then it is told to end as well.
    daemon.signal(Signal::SIGSTOP);
    let mut callers = Vec::new();
    for number in 0..50 {
        callers.push(daemon.write_refresh(refresh(&format!("r{number}"))).await);
    }
    daemon.signal(Signal::SIGTERM);
    daemon.signal(Signal::SIGCONT);

    for caller in callers {
        let answer = crate::daemon::rest(caller).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    assert_eq!(daemon.ended().await.0, Some(0));
}
