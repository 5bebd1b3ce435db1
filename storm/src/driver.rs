//! Drives one mode after the other: logs users in, starts the pods, and lets them present the tokens in waves.

use std::time::{Duration, Instant};

use tokio::process::Child;

use crate::builtin::BuiltIn;
use crate::checks;
use crate::fleet::Fleet;
use crate::plan::{FleetKind, Mode, Namespace, Plan, ProviderKind};
use crate::progress::Progress;
use crate::redis_load::RedisLoad;
use crate::stopped::Stopped;
use crate::tally::{Circumstances, Figures, Link, Tally};
use crate::timeline::{self, Timeline};
use crate::wire::{RedisWay, Start, Way};

/// A storm under way.
pub(crate) struct Driver<'a> {
    plan: &'a mut Plan,
    /// None where the provider is a real one.
    provider: Option<BuiltIn>,
    progress: Progress,
    /// How many logins of a real provider are used up.
    used: usize,
}

/// One login, and the refresh token it has now.
struct Login {
    number: usize,
    /// None when there is nothing left to present.
    token: Option<String>,
}

impl<'a> Driver<'a> {
    /// The process of the provider that it starts, if any, is put into `started`.
    pub(crate) async fn new(plan: &'a mut Plan, started: &mut Option<Child>) -> Result<Self, Stopped> {
        checks::check_redis(plan).await?;
        checks::check_endpoints(plan).await?;
        let provider = match &plan.provider {
            ProviderKind::BuiltIn { delay } => {
                let (provider, process) = BuiltIn::start(*delay).await?;
                *started = Some(process);
                Some(provider)
            }
            ProviderKind::Elsewhere { url } => Some(BuiltIn::at(url)?),
            ProviderKind::Real(_) => None,
        };
        let links = plan.modes.len() * plan.tokens * plan.chain;
        Ok(Self { plan, provider, progress: Progress::new(links), used: 0 })
    }

    pub(crate) fn provider_pid(&self) -> Option<u32> {
        self.provider.as_ref().and_then(BuiltIn::pid)
    }

    pub(crate) fn modes(&self) -> Vec<Mode> {
        self.plan.modes.clone()
    }

    /// Runs one mode, from new logins to what the provider's log says of them. The timeline is empty where no picture
    /// is wanted.
    pub(crate) async fn run(&mut self, mode: Mode) -> Result<(Figures, Timeline), Stopped> {
        let (batch, tokens) = self.log_in().await?;
        let start = self.start(mode);
        let has_roles = !matches!(start.way, Way::Directly);
        let mut fleet = match self.plan.fleet {
            FleetKind::Redis { .. } | FleetKind::Sabotaged { in_processes: true } => {
                Fleet::processes(&start, self.plan.pods).await?
            }
            FleetKind::Embedded | FleetKind::Refreshds { .. } | FleetKind::Sabotaged { in_processes: false } => {
                Fleet::here(&start, self.plan.pods).await?
            }
        };
        // After the pods have connected: what that costs Redis is no cost of a refresh.
        let mut redis = match &start.way {
            Way::Redis(redis) => RedisLoad::watch(redis).await,
            Way::Directly | Way::Memory | Way::Alone => None,
        };
        self.progress.begin(match mode {
            Mode::Without => "without coordination",
            Mode::With => "with coordination   ",
        });

        let began = Instant::now();
        let mut tally = Tally::default();
        let shown = if self.plan.picture.is_some() { timeline::LOGINS.min(self.plan.tokens) } else { 0 };
        let mut timeline = Timeline::new(shown);
        let logins = tokens.into_iter().enumerate();
        let mut logins: Vec<Login> = logins.map(|(number, token)| Login { number, token: Some(token) }).collect();
        if self.plan.closed_tabs {
            self.close_tabs(&mut fleet, &logins).await?;
        }
        for group in logins.chunks_mut(self.plan.at_once) {
            self.present(&mut fleet, group, &mut tally, &mut timeline).await?;
        }
        let took = began.elapsed();

        let commands = match &mut redis {
            Some(redis) => redis.commands().await,
            None => None,
        };
        let pids = fleet.pids();
        fleet.finish().await?;
        if let (Some(mut redis), FleetKind::Redis { namespace: Namespace::Own, .. }) = (redis, &self.plan.fleet) {
            redis.forget(&self.plan.rules.namespace).await;
        }
        let log = match (&self.provider, batch) {
            (Some(provider), Some(batch)) => {
                if shown > 0 {
                    timeline.log(provider.presentations(batch, shown).await?);
                }
                Some(provider.counts(batch).await?)
            }
            _ => None,
        };
        Ok((tally.figures(Circumstances { log, redis: commands, has_roles, pids, took }), timeline))
    }

    /// Logins for one mode: new ones, or the next of those that were given.
    async fn log_in(&mut self) -> Result<(Option<usize>, Vec<String>), Stopped> {
        match (&self.provider, &self.plan.provider) {
            (Some(provider), _) => {
                let batch = provider.open(self.plan.tokens).await?;
                Ok((Some(batch.batch), batch.tokens))
            }
            (None, ProviderKind::Real(real)) => {
                let tokens = real.tokens.slice(self.used, self.plan.tokens);
                self.used += self.plan.tokens;
                Ok((None, tokens))
            }
            (None, ProviderKind::BuiltIn { .. } | ProviderKind::Elsewhere { .. }) => {
                unreachable!("BUG: the built-in provider is started first")
            }
        }
    }

    /// What a pod is told to be. The two modes differ in the way, and where refreshd coordinate in the URLs.
    fn start(&self, mode: Mode) -> Start {
        let plan = &*self.plan;
        let (provider_url, client_id, client_secret) = match (&self.provider, &plan.provider) {
            (Some(provider), _) => {
                // Only what a client with a credential is answered is held until somebody has used it.
                let secret = plan.closed_tabs.then(|| "of the storm".to_owned());
                (Some(provider.token_url()), "storm".to_owned(), secret)
            }
            (None, ProviderKind::Real(real)) => {
                let secret = real.client_secret.as_ref().map(|secret| secret.expose().to_owned());
                (real.url.clone(), real.client_id.clone(), secret)
            }
            (None, ProviderKind::BuiltIn { .. } | ProviderKind::Elsewhere { .. }) => {
                unreachable!("BUG: the built-in provider is started first")
            }
        };
        let provider_url = provider_url.into_iter().collect();
        let (way, token_urls) = match (mode, &plan.fleet) {
            (Mode::Without, _) => (Way::Directly, provider_url),
            (Mode::With, FleetKind::Refreshds { token_urls }) => (Way::Directly, token_urls.clone()),
            (Mode::With, FleetKind::Embedded) => (Way::Memory, provider_url),
            (Mode::With, FleetKind::Redis { redis, .. }) => (Way::Redis(Box::new(RedisWay::of(redis))), provider_url),
            (Mode::With, FleetKind::Sabotaged { .. }) => (Way::Alone, provider_url),
        };
        Start {
            callers: plan.callers,
            connections: (plan.connections / plan.pods).max(1),
            way,
            token_urls,
            client_id,
            client_secret,
            rules: plan.rules.clone(),
            pepper: plan.pepper.as_ref().map(|pepper| pepper.expose().to_owned()),
        }
    }

    /// All callers of all logins ask once, and go away while the provider is at work; then it is waited until what it answered is
    /// no longer fresh.
    async fn close_tabs(&mut self, fleet: &mut Fleet, logins: &[Login]) -> Result<(), Stopped> {
        let ProviderKind::BuiltIn { delay } = self.plan.provider else {
            unreachable!("BUG: tabs are closed before the built-in provider only");
        };
        for group in logins.chunks(self.plan.at_once) {
            let tokens = group.iter().filter_map(|login| login.token.clone()).collect();
            fleet.present_and_go(tokens, (delay.as_millis() / 2).max(1) as u64).await?;
        }
        tokio::time::sleep(delay + Duration::from_millis(self.plan.rules.keep_outcome_ms + 500)).await;
        Ok(())
    }

    /// Some logins along the whole chain: each wave presents the tokens that the wave before got.
    async fn present(
        &mut self,
        fleet: &mut Fleet,
        group: &mut [Login],
        tally: &mut Tally,
        timeline: &mut Timeline,
    ) -> Result<(), Stopped> {
        for _ in 0..self.plan.chain {
            let mut alive: Vec<&mut Login> = group.iter_mut().filter(|login| login.token.is_some()).collect();
            if !alive.is_empty() {
                let tokens = alive.iter().filter_map(|login| login.token.clone()).collect();
                // Logins are presented in their order: those that are watched come first.
                let watched = alive.iter().filter(|login| login.number < timeline.logins.len()).count();
                let mut heard = fleet.present(tokens, watched).await?;
                for pod in &mut heard {
                    for (login, heard) in alive.iter().zip(&mut pod.families).take(watched) {
                        timeline.logins[login.number].callers.append(&mut heard.times);
                    }
                }
                let links = tally.add(heard);
                for (login, link) in alive.iter_mut().zip(&links) {
                    match link {
                        Link::Next(next) => login.token = Some(next.clone()),
                        Link::Kept => {}
                        Link::Refused(_) | Link::Failed => login.token = None,
                    }
                }
                let numbers: Vec<usize> = alive.iter().map(|login| login.number).collect();
                self.keep(&numbers, links)?;
            }
            self.progress.add(group.len());
        }
        Ok(())
    }

    /// The tokens of real logins go to their file before anything else happens.
    fn keep(&mut self, numbers: &[usize], links: Vec<Link>) -> Result<(), Stopped> {
        let ProviderKind::Real(real) = &mut self.plan.provider else {
            return Ok(());
        };
        let first = self.used - self.plan.tokens;
        for (number, link) in numbers.iter().zip(links) {
            match link {
                Link::Next(next) => real.tokens.succeeded(first + number, &next),
                Link::Refused(next) => real.tokens.refused(first + number, next),
                Link::Kept | Link::Failed => {}
            }
        }
        real.tokens.keep()
    }
}
