//! A network between a pod and its Redis: what is sent either way arrives later by the same time, in order.
//!
//! A relay at a port of its own, two threads for each way of each connection. Why not tokio: its timers go off in whole
//! milliseconds. Why not the kernel's own delay (`tc netem`): not every kernel has it, and only root may ask for it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The URL of a Redis that is so far away from whoever connects there, round trip; for as long as the process runs.
pub fn redis_at(url: &str, round_trip: Duration) -> String {
    let port = url.trim_end_matches('/').rsplit(':').next().expect("a port").parse().expect("a number");
    format!("redis://127.0.0.1:{}/", relay(port, round_trip / 2))
}

/// Answers the port that leads to `port`, which is so far away.
fn relay(port: u16, one_way: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let own = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.expect("a connection");
            let far = TcpStream::connect(("127.0.0.1", port)).expect("redis is there");
            for stream in [&near, &far] {
                stream.set_nodelay(true).expect("a TCP socket");
            }
            carry(&near, &far, one_way);
            carry(&far, &near, one_way);
        }
    });
    own
}

/// What can be read here is written there, later.
fn carry(from: &TcpStream, to: &TcpStream, one_way: Duration) {
    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    let (send, sent) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if send.send((Instant::now() + one_way, bytes[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        // A thread sleeps 50 us longer than it was told, unless it says that it minds.
        nix::sys::prctl::set_timerslack(1).expect("a thread of its own");
        for (due, bytes) in sent {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The end arrives as late as all that was sent before it.
        _ = to.shutdown(Shutdown::Write);
    });
}
