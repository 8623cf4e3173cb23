//! Tokens as issuers write them, and as attackers do. Every key here is made for the run.

use std::process::Command;
use std::sync::OnceLock;

use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use serde_json::{Value, json};

use super::*;
use crate::auth::provider;

mod claims;
mod headers;
mod keys;

const ISSUER: &str = "https://issuer.example/realms/a";
const AUDIENCE: &str = "https://mcp.example/mcp";

/// base64url without padding (RFC 7515, appendix C).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(*chunk.get(index).unwrap_or(&0));
        }
        for digit in 0..=chunk.len() {
            text.push(char::from(
                ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize],
            ));
        }
    }
    text
}

/// Every pair of keys that these tests sign with.
struct Keys {
    rsa: RsaKeyPair,
    other_rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    edwards: Ed25519KeyPair,
}

fn new_rsa() -> RsaKeyPair {
    let arguments = "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER";
    let made = Command::new("openssl").args(arguments.split(' ')).output();
    let made = made.expect("openssl makes the keys of these tests: install it");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    // PKCS #1 or #8, by openssl's version.
    let pair = RsaKeyPair::from_der(&made.stdout).or_else(|_| RsaKeyPair::from_pkcs8(&made.stdout));
    pair.unwrap()
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = SystemRandom::new();
        let ecdsa = |algorithm| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        };
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Keys {
            rsa: new_rsa(),
            other_rsa: new_rsa(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            edwards: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(),
        }
    })
}

fn sign(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let (keys, random) = (keys(), SystemRandom::new());
    let encoding: &'static dyn RsaEncoding = match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        "ES256" => return keys.p256.sign(&random, message).unwrap().as_ref().to_vec(),
        "ES384" => return keys.p384.sign(&random, message).unwrap().as_ref().to_vec(),
        "EdDSA" => return keys.edwards.sign(message).as_ref().to_vec(),
        other => panic!("no key for {other}"),
    };
    sign_rsa(&keys.rsa, encoding, message)
}

fn sign_rsa(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

/// A token of exactly these texts, signed by the key for `algorithm`.
fn token_of(header: &str, claims: &str, algorithm: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(claims.as_bytes())
    );
    let signature = base64url(&sign(algorithm, message.as_bytes()));
    format!("{message}.{signature}")
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Claims that are accepted, with some replaced; null takes one out.
fn claims(changes: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now() + 600, "iat": now(),
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims.to_string()
}

fn header(algorithm: &str) -> String {
    json!({ "alg": algorithm, "typ": "JWT", "kid": kid(algorithm) }).to_string()
}

fn kid(algorithm: &str) -> &'static str {
    match algorithm {
        "ES256" => "p256",
        "ES384" => "p384",
        "EdDSA" => "edwards",
        _ => "rsa",
    }
}

fn rsa_jwk(key: &RsaKeyPair) -> Value {
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
    json!({ "kty": "RSA", "kid": "rsa", "n": base64url(&public.n), "e": base64url(&public.e) })
}

fn ec_jwk(key: &EcdsaKeyPair, curve: &str, kid: &str) -> Value {
    let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
    json!({ "kty": "EC", "crv": curve, "kid": kid, "x": base64url(x), "y": base64url(y) })
}

fn edwards_jwk() -> Value {
    let x = base64url(keys().edwards.public_key().as_ref());
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "edwards", "x": x })
}

fn all_jwks() -> Vec<Value> {
    let keys = keys();
    vec![
        rsa_jwk(&keys.rsa),
        ec_jwk(&keys.p256, "P-256", "p256"),
        ec_jwk(&keys.p384, "P-384", "p384"),
        edwards_jwk(),
    ]
}

fn set_of(jwks: &[Value]) -> Result<KeySet, crate::auth::keys::NoKeys> {
    KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes())
}

fn verify_with(set: &KeySet, token: &str) -> Result<Identity, TokenFault> {
    provider::install();
    let head = Head::parse(token)?;
    let expected = Expected {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    verify(token, head.choose(set)?, &expected)
}

fn verified(token: &str) -> Result<Identity, TokenFault> {
    verify_with(&set_of(&all_jwks()).unwrap(), token)
}

/// With one field of a JWK replaced or added.
fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

/// An array in an array in an array …
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn nothing_can_be_signed() {
    provider::install();
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::EdDSA] {
        assert!(jsonwebtoken::crypto::sign(b"text", &key, algorithm).is_err());
    }
}

#[test]
fn no_text_brings_it_down() {
    let whole = token_of(&header("ES256"), &claims(&json!({})), "ES256");
    let set = set_of(&all_jwks()).unwrap();
    for end in 0..whole.len() {
        assert!(verify_with(&set, &whole[..end]).is_err(), "{end}");
    }
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..5000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bytes.len();
            bytes[at] = b"Aa0-_.="[(state >> 24) as usize % 7];
        }
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(verify_with(&set, &text).is_ok(), text == whole, "{text}");
    }
}
