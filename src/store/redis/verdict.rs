//! What an error says of the connection that it came over, and whether to ask again.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is gone, and with it the answer.
    Broken,
    /// This server leads no more, has lost its own leader, or has given the slot away: a new connection may reach the one that
    /// does.
    Demoted,
    /// The user lacks a right, or is not logged in: a new connection is made with the credentials as they are by then.
    Denied,
    /// The same command over the same connection may succeed in a moment.
    NotReady,
    /// A script failed, or a key holds what it should not. To ask again helps nobody.
    Wrong,
}

impl Verdict {
    pub(super) fn of(error: &RedisError) -> Self {
        if error.is_io_error() || error.is_timeout() || error.kind() == ErrorKind::Parse {
            return Self::Broken;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::Denied,
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::ClusterDown,
            ) => return Self::Demoted,
            ErrorKind::Server(ServerErrorKind::NoPerm) => return Self::Denied,
            ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort) | ErrorKind::Extension => {}
            // While a slot moves, a script over keys of which some have not moved or do not exist is answered by no node: to
            // follow ASK would be answered TRYAGAIN.
            // A script that is forgotten between its loading and its call is loaded again.
            ErrorKind::Server(_) => return Self::NotReady,
            _ => return if error.is_unrecoverable_error() { Self::Broken } else { Self::Wrong },
        }
        match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Self::Denied,
            Some("OOM" | "NOREPLICAS" | "BUSY" | "MISCONF") => Self::NotReady,
            _ if is_missing_right(&error.to_string()) => Self::Denied,
            // While a slot moves, too, of a key that the script spells by itself.
            _ if error.to_string().contains("non local key") => Self::NotReady,
            _ => Self::Wrong,
        }
    }
}

/// Whether a text speaks of a right that the user lacks: what Redis says of a command, a key or a channel, and what it says
/// inside of scripts (the second of 7.0, the third from 7.2 on). "Permission denied" of a socket is capitalized.
pub(super) fn is_missing_right(reason: &str) -> bool {
    ["permission", "user executing the script", "ACL failure in script"].iter().any(|text| reason.contains(text))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// As the redis crate reads it from the wire.
    fn reply(line: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).map(Value::extract_error) {
            Ok(Err(error)) | Err(error) => error,
            Ok(Ok(value)) => panic!("{line} is {value:?}"),
        }
    }

    #[test]
    fn error_replies_are_told_apart() {
        for (line, expected) in [
            ("READONLY You can't write against a read only replica.", Verdict::Demoted),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Verdict::Demoted),
            ("NOAUTH Authentication required.", Verdict::Denied),
            ("WRONGPASS invalid username-password pair or user is disabled.", Verdict::Denied),
            ("NOPERM User pods has no permissions to run the 'evalsha' command", Verdict::Denied),
            (
                "ERR The user executing the script can't run this command or subcommand script: 4, on @user",
                Verdict::Denied,
            ),
            ("ERR ACL failure in script: User pods has no permissions to run the 'get' command", Verdict::Denied),
            ("NOREPLICAS Not enough good replicas to write.", Verdict::NotReady),
            ("LOADING Redis is loading the dataset in memory", Verdict::NotReady),
            ("OOM command not allowed when used memory > 'maxmemory'.", Verdict::NotReady),
            ("MOVED 3999 127.0.0.1:6381", Verdict::Demoted),
            ("CLUSTERDOWN The cluster is down", Verdict::Demoted),
            ("ASK 3999 127.0.0.1:6381", Verdict::NotReady),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Verdict::NotReady),
            (
                "ERR Script attempted to access a non local key in a cluster node script: 4, on @user:12",
                Verdict::NotReady,
            ),
            ("BUSY Redis is busy running a script.", Verdict::NotReady),
            ("MISCONF Errors writing to the AOF file: No space left on device", Verdict::NotReady),
            ("NOSCRIPT No matching script. Please use EVAL.", Verdict::NotReady),
            ("WRONGTYPE Operation against a key holding the wrong kind of value script: 4, on @user:1", Verdict::Wrong),
            ("ERR user_script:12: attempt to perform arithmetic on a nil value script: 4, on @user:12", Verdict::Wrong),
            ("ERR value is not an integer or out of range", Verdict::Wrong),
        ] {
            assert_eq!(Verdict::of(&reply(line)), expected, "{line}");
        }
    }

    #[test]
    fn connection_that_is_gone_has_no_answer() {
        for kind in [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::TimedOut, std::io::ErrorKind::UnexpectedEof] {
            assert_eq!(Verdict::of(&std::io::Error::from(kind).into()), Verdict::Broken, "{kind}");
        }
    }
}
