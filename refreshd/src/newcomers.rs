//! Connections that wait for a place, in the order in which they came: who is next, and who is turned away where too many wait.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// What they wait with is `T`; who is turned away has it dropped.
#[derive(Debug)]
pub(crate) struct Newcomers<T> {
    waiting: VecDeque<(IpAddr, T)>,
    of_peer: HashMap<IpAddr, usize>,
    most: usize,
}

impl<T> Newcomers<T> {
    pub(crate) fn at_most(most: usize) -> Self {
        Self { waiting: VecDeque::new(), of_peer: HashMap::new(), most }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        self.of_peer.keys().copied()
    }

    /// How many of this address wait.
    pub(crate) fn of(&self, peer: IpAddr) -> usize {
        self.of_peer.get(&peer).copied().unwrap_or_default()
    }

    /// One more waits. Where that is one too many, the last one of the address that has the most is turned away.
    pub(crate) fn come(&mut self, peer: IpAddr, with: T) {
        self.waiting.push_back((peer, with));
        *self.of_peer.entry(peer).or_default() += 1;
        if self.waiting.len() <= self.most {
            return;
        }
        // Of as many, the one that has just come: those before it have waited.
        let busiest = self.of_peer.iter().max_by_key(|(of, count)| (**count, **of == peer)).map(|(peer, _)| *peer);
        if let Some(at) = self.waiting.iter().rposition(|(peer, _)| Some(*peer) == busiest) {
            self.leave(at);
        }
    }

    /// Who is next: of the address with the least rank, the first that came. Addresses without a rank wait on.
    pub(crate) fn next(&mut self, rank: impl Fn(IpAddr) -> Option<usize>) -> Option<(IpAddr, T)> {
        let ranked = self.waiting.iter().enumerate().filter_map(|(at, (peer, _))| Some((rank(*peer)?, at)));
        let (_, at) = ranked.min()?;
        self.leave(at)
    }

    fn leave(&mut self, at: usize) -> Option<(IpAddr, T)> {
        let (peer, with) = self.waiting.remove(at)?;
        if let Some(count) = self.of_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&peer);
            }
        }
        Some((peer, with))
    }
}
