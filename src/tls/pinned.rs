//! Servers that a file of certificates vouches for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::error::TlsError;
use super::validity::Validity;

/// Trusts what the certificates of a file have issued, and the certificates themselves.
#[derive(Debug)]
pub(super) struct FileVerifier {
    certificates: Vec<CertificateDer<'static>>,
    issued: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl FileVerifier {
    pub(super) fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, TlsError> {
        let refused = |error: &dyn std::error::Error| TlsError::Certificates { reason: error.to_string() };
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone()).map_err(|error| refused(&error))?;
        }
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let issued = issued.map_err(|error| refused(&error))?;
        Ok(Self { certificates: certificates.to_vec(), issued, algorithms })
    }
}

impl ServerCertVerifier for FileVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.certificates.iter().any(|certificate| certificate == end_entity) {
            return self.issued.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        // The operator has named this very certificate: nobody need have issued it, but it has to be for this server, and now.
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let validity = Validity::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        if now.as_secs() < validity.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > validity.not_after {
            return Err(CertificateError::Expired.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// As `openssl req -x509` makes them: for a server, and called a CA's.
    fn self_signed(name: &str, end: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let mut certificate = CertificateParams::new([name.to_owned()]).expect("a name");
        certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        certificate.not_before = date_time_ymd(2020, 1, 1);
        certificate.not_after = date_time_ymd(end, 1, 1);
        certificate.self_signed(&key).expect("a certificate").der().clone()
    }

    fn verdict(trusted: &[CertificateDer<'static>], shown: &CertificateDer<'_>, name: &str) -> Result<(), Error> {
        let verifier = FileVerifier::new(trusted).expect("certificates");
        let name = ServerName::try_from(name).expect("a name");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        verifier.verify_server_cert(shown, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn self_signed_certificate_is_trusted_for_its_own_name_and_time() {
        let server = self_signed("redis.internal", 2050);
        let by_address = self_signed("127.0.0.1", 2050);
        let over = self_signed("redis.internal", 2021);

        verdict(std::slice::from_ref(&server), &server, "redis.internal").expect("it is the one that was named");
        verdict(&[over.clone(), by_address.clone()], &by_address, "127.0.0.1").expect("an address is a name, too");

        let misnamed =
            verdict(std::slice::from_ref(&server), &server, "elsewhere.internal").expect_err("of another name");
        assert!(misnamed.to_string().contains("not valid for name"), "{misnamed}");
        let late = verdict(std::slice::from_ref(&over), &over, "redis.internal").expect_err("it is over");
        assert!(late.to_string().contains("Expired"), "{late}");
        let stranger = self_signed("redis.internal", 2050);
        let other = verdict(&[server], &stranger, "redis.internal").expect_err("of the same name, and another");
        assert!(matches!(other, Error::InvalidCertificate(_)), "{other}");
    }

    #[test]
    fn issued_certificate_is_trusted_by_its_issuer() {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).expect("a certificate").der().clone();
        let key = KeyPair::generate().expect("a key");
        let issued = CertificateParams::new(["redis.internal".to_owned()]).expect("a name");
        let issued = issued.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate").der().clone();

        verdict(&[root], &issued, "redis.internal").expect("issued by one that is trusted");
        // It vouches for itself alone.
        verdict(std::slice::from_ref(&issued), &issued, "redis.internal").expect("named itself");
        verdict(&[self_signed("h", 2050)], &issued, "redis.internal").expect_err("issued by another");
    }

    #[test]
    fn nothing_is_trusted_by_no_certificate() {
        let error = FileVerifier::new(&[]).expect_err("none");

        assert!(matches!(error, TlsError::Certificates { .. }), "{error}");
        FileVerifier::new(&[CertificateDer::from(vec![0x30, 0])]).expect_err("no certificate");
    }
}
