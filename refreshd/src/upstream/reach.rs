//! Whether requests can be sent to an address of the operator's: connects as they do, over TLS where there is TLS, and sends nothing.

use std::error::Error;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use refresh_coordinator_cli::{BadSetting, Span};
use rustls::{AlertDescription, CertificateError};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use url::Url;

use super::address;
use super::chain::chain;
use super::connections::Connections;
use super::tls;

/// Why no request can be sent.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// It may pass by itself: nobody listens there, a name is not known, a certificate is over.
    ForNow(BadSetting),
    /// It does not: the certificate is another one's, or nobody speaks TLS there.
    UntilMended(BadSetting),
}

/// How long is waited for what a server says after the handshake: as long as connecting took, which is a few times to there and back.
const LEAST_WAIT: Duration = Duration::from_millis(20);
const MOST_WAIT: Duration = Duration::from_secs(1);

/// `flag` says where the URL was given.
///
/// # Errors
///
/// What a person has to know, in a line.
pub(super) async fn reach(flag: &str, url: &Url, connections: &Connections, within: Span) -> Result<(), Unreached> {
    let (host, port) = address::host_and_port(url);
    let by = if connections.is_by_proxy { " by --upstream-proxy" } else { "" };
    let place = format!("{flag}: {host}:{port}{by}");
    let looked = tokio::time::timeout(within.0, look(connections)).await;
    let error = match looked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(Unreached::ForNow(BadSetting::new(format!(
                "{place} cannot be reached: no answer within {within}"
            ))));
        }
    };
    let reason = chain(&*error);
    Err(match tls::fault_in(&*error) {
        None => Unreached::ForNow(BadSetting::new(format!("{place} cannot be reached: {reason}"))),
        Some(rustls::Error::InvalidCertificate(wrong)) if is_a_matter_of_time(wrong) => {
            Unreached::ForNow(BadSetting::new(format!("{place} is sent nothing: {reason}")))
        }
        // A server that has no certificate yet, or nobody behind it, says so by other alerts.
        Some(rustls::Error::AlertReceived(alert)) if !is_of_certificates(*alert) => {
            Unreached::ForNow(BadSetting::new(format!("{place} cannot be reached: {reason}")))
        }
        Some(wrong) => Unreached::UntilMended(BadSetting::new(format!(
            "{place} is sent nothing: {reason}; {}, or start without looking by --no-check-upstream",
            remedy(wrong)
        ))),
    })
}

async fn look(connections: &Connections) -> Result<(), Box<dyn Error + Send + Sync>> {
    let began = Instant::now();
    let stream = connections.connect().await?;
    if !connections.is_over_tls() {
        return Ok(());
    }
    // Whether it takes our certificate, or wants one, a server says after the handshake (RFC 8446 section 4.4.2.4).
    let wait = began.elapsed().clamp(LEAST_WAIT, MOST_WAIT);
    match tokio::time::timeout(wait, TokioIo::new(stream).read_u8()).await {
        Ok(Err(error)) if tls::fault_in(&error).is_some() => Err(error.into()),
        // It has nothing to say before it is asked, or closes what is not used.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The provider renews it, or our clock is wrong.
fn is_a_matter_of_time(wrong: &CertificateError) -> bool {
    matches!(
        wrong,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

/// It does not take the certificate that it was shown, or was shown none.
fn is_of_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

fn remedy(wrong: &rustls::Error) -> &'static str {
    match wrong {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "name who has issued its certificate by --ca-file"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "give the URL with a name that its certificate is for",
        rustls::Error::AlertReceived(_) => "give a certificate that it takes by --client-cert and --client-key",
        rustls::Error::InvalidMessage(_) => "correct the URL: no TLS is spoken there",
        _ => "correct the URL or what --ca-file trusts",
    }
}
