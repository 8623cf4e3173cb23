//! TLS to the database: what is trusted, by libpq's `sslmode`, and the channel binding that ties
//! the password exchange to the certificate (RFC 5929 §4).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::fault::Fault;
use crate::base::tls::{PemFault, SYSTEM_BUNDLES, load_certificates, load_private_key};
use crate::config::{PgTarget, PgTls};

/// The client's side for a target that wants TLS.
pub(super) fn build_client(target: &PgTarget, direct: bool) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authority = || load_authority(target, &provider);
    let trust = match (target.tls, &target.root_cert) {
        // Without a name to check, any certificate of any public authority would do.
        (PgTls::VerifyCa, None) => {
            return Err(Fault::Tls(
                "sslmode=verify-ca needs sslrootcert; or take verify-full",
            ));
        }
        // As libpq has it: whoever names an authority wants it asked.
        (PgTls::Require, Some(_)) | (PgTls::VerifyCa, _) => Trust::AnyName(authority()?),
        (PgTls::Require, None) => Trust::AnyCertificate,
        (PgTls::Disable | PgTls::VerifyFull, _) => Trust::Named(authority()?),
    };
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(Verifier { trust, algorithms });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Fault::Tls("TLS cannot be set up"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut client = match &target.client_cert {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = load_certificates(certificate).map_err(|fault| match fault {
                PemFault::Unreadable(_) => Fault::Tls("the file of sslcert cannot be read"),
                PemFault::Malformed => Fault::Tls("sslcert is no file with a certificate in PEM"),
            })?;
            check_private(key)?;
            let key = load_private_key(key)
                .map_err(|_| Fault::Tls("sslkey is no file with a private key in PEM"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| Fault::Tls("sslcert and sslkey do not belong together"))?
        }
    };
    if direct {
        client.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(client)
}

/// As libpq has it: a key is its owner's alone, or of root and a group that may only read it.
fn check_private(key: &Path) -> Result<(), Fault> {
    let metadata = std::fs::metadata(key).and_then(|found| {
        std::fs::File::open(key)?;
        Ok(found)
    });
    let metadata = metadata.map_err(|_| Fault::Tls("the file of sslkey cannot be read"))?;
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match metadata.mode() & others {
        0 => Ok(()),
        _ => Err(Fault::Tls(
            "the file of sslkey can be read or written by others: give it mode 0600, or 0640 \
             where root owns it",
        )),
    }
}

/// Whose certificate is taken.
#[derive(Debug)]
enum Trust {
    /// `require`: anybody's, who only has to have its key.
    AnyCertificate,
    /// `verify-ca`: the authority's, whatever its name.
    AnyName(Arc<WebPkiServerVerifier>),
    /// `verify-full`: the authority's for the host.
    Named(Arc<WebPkiServerVerifier>),
}

fn load_authority(
    target: &PgTarget,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Fault> {
    let certificates = match &target.root_cert {
        Some(path) => load_certificates(path)
            .map_err(|_| Fault::Tls("sslrootcert is no file with certificates in PEM"))?,
        None => SYSTEM_BUNDLES
            .iter()
            .find_map(|path| load_certificates(Path::new(path)).ok())
            .ok_or(Fault::Tls(
                "this system has no bundle of authorities: name one by sslrootcert",
            ))?,
    };
    let mut roots = RootCertStore::empty();
    // A bundle may hold old certificates that cannot be roots; one that can be is enough.
    roots.add_parsable_certificates(certificates);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| Fault::Tls("sslrootcert holds no certificate of an authority"))
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |authority: &WebPkiServerVerifier| {
            authority.verify_server_cert(end_entity, intermediates, name, ocsp, now)
        };
        match &self.trust {
            Trust::AnyCertificate => Ok(ServerCertVerified::assertion()),
            Trust::AnyName(authority) => match verify(authority) {
                // The name is looked at last, once the chain has passed.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verdict => verdict,
            },
            Trust::Named(authority) => verify(authority),
        }
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

/// The `tls-server-end-point` of a certificate: its hash by the hash of its own signature, SHA-256
/// where that is weaker. `None` for signatures that name no hash, where the RFC defines nothing.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let oid = signature_algorithm(certificate)?;
    // 1.2.840.113549.1.1 (PKCS #1) and 1.2.840.10045.4 (ECDSA): RFC 8017 §A.2.4, RFC 5758 §3.2.
    const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
    let tail = |prefix| oid.strip_prefix::<[u8]>(prefix);
    match (tail(PKCS1), tail(ECDSA)) {
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => {
            Some(Sha256::digest(certificate).to_vec())
        }
        (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(certificate).to_vec()),
        (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The OID of a certificate's signature algorithm: its second member's first member (RFC 5280
/// §4.1).
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    let (members, _) = read_der(certificate, SEQUENCE)?;
    let (_, rest) = read_der(members, SEQUENCE)?;
    let (algorithm, _) = read_der(rest, SEQUENCE)?;
    read_der(algorithm, OID).map(|(oid, _)| oid)
}

/// The contents of a DER value of this tag, and what follows it.
fn read_der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = digits
                .iter()
                .fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate in outline: a sequence of an empty body and an algorithm.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let oid = [&[0x06, length(oid)], oid].concat();
        let algorithm = [&[0x30, length(&oid)], &oid[..]].concat();
        let members = [&[0x30, 0x81, 0], &algorithm[..]].concat();
        [&[0x30, 0x82, 0, length(&members)], &members[..]].concat()
    }

    #[test]
    fn the_hash_follows_the_signature() {
        let check = |oid: &[u8], expected: Option<usize>| {
            let found = end_point(&certificate(oid)).map(|hash| hash.len());
            assert_eq!(found, expected, "{oid:?}");
        };
        let pkcs1 = |last| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
        check(&pkcs1(5), Some(32));
        check(&pkcs1(11), Some(32));
        check(&pkcs1(12), Some(48));
        check(&pkcs1(13), Some(64));
        check(&pkcs1(10), None);
        check(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], Some(32));
        check(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], Some(48));
        check(&[0x2b, 0x65, 0x70], None);
    }

    #[test]
    fn truncated_certificates_have_no_end_point() {
        let whole = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        for end in 0..whole.len() {
            assert_eq!(end_point(&whole[..end]), None, "{end}");
        }
        for index in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = whole.clone();
                broken[index] = byte;
                let _ = end_point(&broken);
            }
        }
    }
}
