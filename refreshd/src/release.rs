//! `refreshd release`: gives back what a lost flight still holds, once an operator has confirmed it.

use std::process::ExitCode;

use refresh_coordinator::{Hold, Leader, Operator, RedisName, Released};
use refresh_coordinator_cli::{BadSetting, print_line};

use crate::operate::{Token, Way, line_of_stdin, told};

/// Ends at once what a flight that has lost its leader still holds: its lease, its permit, its probe
///
/// First it says what it would do, and asks. Refused while the leader may live: while its pod listens, or has renewed its
/// lease within the last two thirds of that. When the token is presented again is up to --retry-lost-after and --uncertain of
/// the pods, as after any lost leader. Flags and environment are those of serve.
///
/// Exit code 0: released, or nothing was held. 1: nothing was changed. 2: a setting is wrong, or Redis cannot be asked.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("flight").required(true).args(["token_stdin", "token_hash"]))]
pub(crate) struct Release {
    #[command(flatten)]
    token: Token,
    /// Do not ask. For scripts
    #[arg(long)]
    yes: bool,
    /// Release also from a leader that may live. If it does, the token may be presented twice, and the provider may end the
    /// session for that
    #[arg(long)]
    risk_presenting_the_token_twice: bool,
    #[command(flatten)]
    way: Way,
}

impl Release {
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        let mut operator = self.way.connect().await?;
        let flight = self.token.flight(&mut operator).await?.expect("BUG: clap asks for one");
        let Some(hold) = operator.hold_of(flight).await.map_err(told)? else {
            print_line(format_args!("flight {flight} holds nothing: there is nothing to release"));
            return Ok(ExitCode::SUCCESS);
        };
        tell(flight, &hold);
        let may_live = hold.leader != Leader::Silent;
        if may_live && !self.risk_presenting_the_token_twice {
            print_line(
                "not released: the leader may be presenting the token now. Where you know that it does not, there is",
            );
            print_line("--risk-presenting-the-token-twice");
            return Ok(ExitCode::FAILURE);
        }
        if !self.yes && !is_confirmed(may_live).await? {
            print_line("not released: not confirmed, nothing was changed (--yes does not ask)");
            return Ok(ExitCode::FAILURE);
        }
        self.act(&mut operator, flight, &hold).await
    }

    async fn act(&self, operator: &mut Operator, flight: RedisName, hold: &Hold) -> Result<ExitCode, BadSetting> {
        let released = match self.risk_presenting_the_token_twice {
            true => operator.release_from_living(flight, hold).await,
            false => operator.release(flight, hold).await,
        };
        match released.map_err(told)? {
            Released::Over => {
                print_line("released");
                return Ok(ExitCode::SUCCESS);
            }
            Released::LeaderMayLive => {
                print_line("not released: the leader was heard of meanwhile, nothing was changed")
            }
            Released::Changed => {
                print_line("not released: another leader has the flight now, or nobody; nothing was changed")
            }
        }
        Ok(ExitCode::FAILURE)
    }
}

/// What is held, whether its leader may live, and what a release would do.
fn tell(flight: RedisName, hold: &Hold) {
    let Hold { owner, leader, lease, permit, probe, waiting, .. } = hold;
    print_line(format_args!("flight {flight}"));
    print_line(format_args!("  leader {owner}"));
    for (what, left) in [
        ("lease", lease.clone()),
        ("permit", permit.map(|left| format!("for {:.1} s more", left.as_secs_f64()))),
        ("probe", probe.map(|left| format!("for {:.1} s more", left.as_secs_f64()))),
    ] {
        if let Some(left) = left {
            print_line(format_args!("  holds a {what} {left}"));
        }
    }
    print_line(format_args!("  pods that wait for it: {waiting}"));
    print_line(match leader {
        Leader::Silent => {
            "  the leader is lost: nobody listens for its pod, and two renewals of its lease are missing".to_owned()
        }
        Leader::MayLive { listeners: Some(0) } => {
            "  the leader may live: nobody listens for its pod, but it has renewed its lease lately".to_owned()
        }
        Leader::MayLive { listeners: Some(_) } => "  the leader may live: its pod listens".to_owned(),
        Leader::MayLive { listeners: None } => "  the leader may live: its pod cannot be asked for".to_owned(),
    });
    print_line("  a release ends what it holds now; the token is presented again as after any lost leader, not before");
    print_line("  retry_lost_after has passed since the start, and not at all with uncertain = never");
}

async fn is_confirmed(may_live: bool) -> Result<bool, BadSetting> {
    if may_live {
        print_line("the token may be presented twice, and its session be ended for that");
    }
    print_line("release it? Type yes:");
    Ok(line_of_stdin().await? == "yes")
}
