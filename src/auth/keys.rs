//! An issuer's public keys: a JWK Set (RFC 7517) and what of it is fit to verify tokens. What a key
//! verifies is said by the key; a token only picks among that. Pure; nothing is fetched here.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Keys of a set that are looked at; issuers publish two to five.
const MAX_KEYS: usize = 64;
/// What ring verifies with, in bits of the modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key and what it verifies.
#[derive(Clone, Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// Never empty, all of one family.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The fit keys of one issuer; never empty.
#[derive(Clone, Debug)]
pub(super) struct KeySet(Vec<Key>);

/// Why a text gives no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKeys {
    /// It is no JWK Set.
    Malformed,
    /// It is one, and no key in it is fit.
    NoneFit,
}

impl KeySet {
    /// Reads a JWK Set; keys that are not fit are left out (RFC 7517, section 5).
    pub(super) fn parse(text: &[u8]) -> Result<Self, NoKeys> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        // The reader would take an array of a structure's fields for the structure.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(NoKeys::Malformed);
        }
        let set: Set<'_> = serde_json::from_slice(text).map_err(|_| NoKeys::Malformed)?;
        let keys: Vec<Key> = set
            .keys
            .iter()
            .take(MAX_KEYS)
            .filter(|raw| raw.get().starts_with('{'))
            .filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok())
            .filter_map(Jwk::into_key)
            .collect();
        if keys.is_empty() {
            return Err(NoKeys::NoneFit);
        }
        Ok(Self(keys))
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token may mean by `id`, each with its own algorithms. Without an id only a
    /// set of one key is unambiguous.
    pub(super) fn find<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let alone = self.0.len() == 1;
        self.0.iter().filter(move |key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => alone,
        })
    }
}

/// A JSON Web Key as it comes.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key, if it is fit to verify signatures.
    fn into_key(self) -> Option<Key> {
        let signs = self.r#use.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self
            .key_ops
            .as_ref()
            .is_none_or(|acts| acts.iter().any(|act| act == "verify"));
        if !signs || !verifies {
            return None;
        }
        let (able, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => (RSA, rsa_key(self.n.as_deref()?, self.e.as_deref()?)?),
            ("EC", Some("P-256")) => (&[Algorithm::ES256][..], self.point(32)?),
            ("EC", Some("P-384")) => (&[Algorithm::ES384][..], self.point(48)?),
            ("OKP", Some("Ed25519")) => (&[Algorithm::EdDSA][..], self.edwards_point()?),
            // Among them oct: a shared secret in a public document proves nothing.
            _ => return None,
        };
        let algorithms = match &self.alg {
            None => able.to_vec(),
            Some(name) => {
                let only: Algorithm = name.parse().ok()?;
                able.contains(&only).then(|| vec![only])?
            }
        };
        Some(Key {
            id: self.kid,
            algorithms,
            key,
        })
    }

    /// The point of an EC key, of whole coordinates (RFC 7518, section 6.2.1).
    fn point(&self, coordinate_bytes: usize) -> Option<DecodingKey> {
        let key = DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok()?;
        let bytes = key.try_get_as_bytes().ok()?.len();
        (bytes == 1 + 2 * coordinate_bytes).then_some(key)
    }

    fn edwards_point(&self) -> Option<DecodingKey> {
        let key = DecodingKey::from_ed_components(self.x.as_deref()?).ok()?;
        (key.try_get_as_bytes().ok()?.len() == 32).then_some(key)
    }
}

/// What an RSA key verifies that does not say.
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn rsa_key(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let key = DecodingKey::from_rsa_components(modulus, exponent).ok()?;
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else {
        return None;
    };
    // Some issuers write a sign byte in front.
    let (n, e) = (without_zeros(n), without_zeros(e));
    let first = n.first()?;
    let bits = n.len() * 8 - usize::try_from(first.leading_zeros()).ok()?;
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    // Exponents beyond 33 bits and below 3 are refused by ring, too; here the key is left out.
    let fit = RSA_BITS.contains(&bits) && odd(n) && odd(e) && e.len() <= 4 && *e != [1];
    fit.then(|| DecodingKey::from_rsa_raw_components(n, e))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
