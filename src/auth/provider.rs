//! Verification of signatures for `jsonwebtoken`, on ring. Only verification, only asymmetric
//! algorithms: nothing in the binary can sign, and no shared secret can stand in for a key.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, new_error};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as algorithms;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the process's provider; later calls do nothing.
pub(super) fn install() {
    // Only a second call fails, and it brings the same provider.
    let _ = PROVIDER.install_default();
}

/// One key with one algorithm.
struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifier_factory(
    algorithm: &Algorithm,
    key: &DecodingKey,
) -> jsonwebtoken::errors::Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

impl signature::Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = algorithms::RsaPublicKeyComponents { n, e };
                let parameters = rsa(self.algorithm).ok_or_else(signature::Error::new)?;
                key.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(point) => {
                let algorithm = elliptic(self.algorithm).ok_or_else(signature::Error::new)?;
                algorithms::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// RFC 7518, sections 3.3 and 3.5. Moduli of less than 2048 bits are refused by ring.
fn rsa(algorithm: Algorithm) -> Option<&'static algorithms::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &algorithms::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &algorithms::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &algorithms::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// RFC 7518, section 3.4, and RFC 8037, section 3.1.
fn elliptic(algorithm: Algorithm) -> Option<&'static dyn algorithms::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &algorithms::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &algorithms::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &algorithms::ED25519,
        _ => return None,
    })
}
