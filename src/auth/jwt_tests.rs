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

#[test]
fn every_accepted_algorithm_verifies_and_no_byte_may_change() {
    for algorithm in "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA".split(' ') {
        let token = token_of(&header(algorithm), &claims(&json!({})), algorithm);
        let identity = verified(&token).unwrap_or_else(|fault| panic!("{algorithm}: {fault}"));
        assert_eq!(identity.principal.subject, "alice");
        assert_eq!(identity.principal.issuer, ISSUER);

        let (message, signature) = token.rsplit_once('.').unwrap();
        let (head, payload) = message.split_once('.').unwrap();
        let forged = base64url(claims(&json!({ "sub": "root" })).as_bytes());
        let mut other = signature.to_owned();
        other.replace_range(10..11, if &signature[10..11] == "A" { "B" } else { "A" });
        for (what, forged) in [
            ("claims", format!("{head}.{forged}.{signature}")),
            ("signature", format!("{message}.{other}")),
            ("no signature", format!("{message}.")),
            (
                "half a signature",
                format!("{message}.{}", &signature[..signature.len() / 8 * 4]),
            ),
            ("zeros", format!("{message}.{}", base64url(&[0; 64]))),
        ] {
            let fault = verified(&forged).unwrap_err();
            assert_eq!(fault, TokenFault::Signature, "{algorithm}: {what}");
        }
        for (what, broken) in [
            ("two parts", message.to_owned()),
            ("five parts", format!("{token}.{payload}.{signature}")),
            ("padding", format!("{token}=")),
            ("a space", format!("{message}. {signature}")),
        ] {
            assert!(verified(&broken).is_err(), "{algorithm}: {what}");
        }
    }
}

#[test]
fn the_key_says_the_algorithm() {
    let keys = keys();
    let all = all_jwks();
    let check = |jwks: &[Value], header: Value, signer: &str, expected: TokenFault| {
        let token = token_of(&header.to_string(), &claims(&json!({})), signer);
        let fault = verify_with(&set_of(jwks).unwrap(), &token).unwrap_err();
        assert_eq!(fault, expected, "{header} {jwks:?}");
    };
    // What the token claims does not fit the key that it names.
    check(
        &all,
        json!({ "alg": "ES256", "kid": "rsa" }),
        "ES256",
        TokenFault::Algorithm,
    );
    check(
        &all,
        json!({ "alg": "RS256", "kid": "p256" }),
        "RS256",
        TokenFault::Algorithm,
    );
    check(
        &all,
        json!({ "alg": "ES384", "kid": "p256" }),
        "ES384",
        TokenFault::Algorithm,
    );
    check(
        &all,
        json!({ "alg": "EdDSA", "kid": "rsa" }),
        "EdDSA",
        TokenFault::Algorithm,
    );
    // A key for one algorithm serves no other of its family.
    let only = [with(rsa_jwk(&keys.rsa), "alg", "RS512")];
    check(
        &only,
        json!({ "alg": "RS256", "kid": "rsa" }),
        "RS256",
        TokenFault::Algorithm,
    );
    check(
        &only,
        json!({ "alg": "PS512", "kid": "rsa" }),
        "PS512",
        TokenFault::Algorithm,
    );
    let fine = token_of(
        r#"{"alg":"RS512","kid":"rsa"}"#,
        &claims(&json!({})),
        "RS512",
    );
    assert!(verify_with(&set_of(&only).unwrap(), &fine).is_ok());
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let public = PublicKeyComponents::<Vec<u8>>::from(keys().rsa.public());
    let jwk = rsa_jwk(&keys().rsa);
    let secrets = [
        public.n.clone(),
        keys().rsa.public().as_ref().to_vec(),
        jwk.to_string().into(),
    ];
    for (name, algorithm) in [
        ("HS256", ring::hmac::HMAC_SHA256),
        ("HS384", ring::hmac::HMAC_SHA384),
        ("HS512", ring::hmac::HMAC_SHA512),
    ] {
        for secret in &secrets {
            let header = json!({ "alg": name, "kid": "rsa" }).to_string();
            let claims = claims(&json!({}));
            let message = format!(
                "{}.{}",
                base64url(header.as_bytes()),
                base64url(claims.as_bytes())
            );
            let key = ring::hmac::Key::new(algorithm, secret);
            let tag = base64url(ring::hmac::sign(&key, message.as_bytes()).as_ref());
            let fault = verified(&format!("{message}.{tag}")).unwrap_err();
            assert_eq!(fault, TokenFault::Algorithm, "{name}");
        }
    }
}

#[test]
fn headers_that_are_refused() {
    let check = |header: &str, expected: TokenFault| {
        let token = token_of(header, &claims(&json!({})), "RS256");
        assert_eq!(verified(&token).unwrap_err(), expected, "{header}");
    };
    for none in [
        "none", "None", "NONE", "", "RS1", "HS257", "ES256K", "ES512",
    ] {
        check(
            &format!(r#"{{"alg":"{none}","kid":"rsa"}}"#),
            TokenFault::Malformed,
        );
    }
    check(r#"{"kid":"rsa"}"#, TokenFault::Malformed);
    check(r#"{"alg":["RS256"],"kid":"rsa"}"#, TokenFault::Malformed);
    check(
        r#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#,
        TokenFault::Malformed,
    );
    check(
        r#"{"alg":"RS256","kid":"p256","kid":"rsa"}"#,
        TokenFault::Malformed,
    );
    check(r#"{"alg":"RS256","kid":7}"#, TokenFault::Malformed);
    check(r#"["RS256"]"#, TokenFault::Malformed);
    check("", TokenFault::Malformed);
    check(
        r#"{"alg":"RS256","kid":"rsa","crit":["b64"],"b64":false}"#,
        TokenFault::Critical,
    );
    check(
        r#"{"alg":"RS256","kid":"rsa","crit":[]}"#,
        TokenFault::Critical,
    );
    for kind in [
        "JWE",
        "dpop+jwt",
        "secevent+jwt",
        "logout+jwt",
        "application/",
        "at+jwt ",
    ] {
        check(
            &format!(r#"{{"alg":"RS256","kid":"rsa","typ":"{kind}"}}"#),
            TokenFault::Type,
        );
    }
    check(
        &format!(r#"{{"alg":"RS256","kid":"rsa","x":{}}}"#, nested(2000)),
        TokenFault::Malformed,
    );
}

#[test]
fn types_that_are_accepted() {
    for kind in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "application/jwt",
    ] {
        let header = json!({ "alg": "RS256", "kid": "rsa", "typ": kind }).to_string();
        assert!(
            verified(&token_of(&header, &claims(&json!({})), "RS256")).is_ok(),
            "{kind}"
        );
    }
}

#[test]
fn no_key_of_the_token_itself_is_used() {
    // Signed by a stranger's key that travels along.
    let stranger = rsa_jwk(&keys().other_rsa);
    for header in [
        json!({ "alg": "RS256", "kid": "rsa", "jwk": stranger }),
        json!({ "alg": "RS256", "kid": "rsa", "jku": "https://evil.example/jwks" }),
        json!({ "alg": "RS256", "kid": "rsa", "x5u": "https://evil.example/chain" }),
        json!({ "alg": "RS256", "kid": "rsa", "x5c": ["AAAA"] }),
        json!({ "alg": "RS256", "kid": "rsa" }),
    ] {
        let header = header.to_string();
        let claims = claims(&json!({}));
        let message = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(claims.as_bytes())
        );
        let signature = sign_rsa(&keys().other_rsa, &RSA_PKCS1_SHA256, message.as_bytes());
        let token = format!("{message}.{}", base64url(&signature));
        assert_eq!(
            verified(&token).unwrap_err(),
            TokenFault::Signature,
            "{header}"
        );
    }
}

#[test]
fn key_ids_are_compared_and_nothing_else() {
    let check = |kid: Value, expected: TokenFault| {
        let header = json!({ "alg": "RS256", "kid": kid }).to_string();
        let token = token_of(&header, &claims(&json!({})), "RS256");
        assert_eq!(verified(&token).unwrap_err(), expected, "{header}");
    };
    for strange in [
        "RSA",
        "rsa ",
        "",
        "../../dev/null",
        "rsa' OR '1'='1",
        "rsa\u{0}",
        "/etc/passwd",
        "*",
    ] {
        check(json!(strange), TokenFault::UnknownKey);
    }
    check(json!("k".repeat(4000)), TokenFault::UnknownKey);
    // Without a name only a set of one key is unambiguous.
    let nameless = token_of(r#"{"alg":"RS256"}"#, &claims(&json!({})), "RS256");
    assert_eq!(verified(&nameless).unwrap_err(), TokenFault::UnknownKey);
    let one = set_of(&[rsa_jwk(&keys().rsa)]).unwrap();
    assert!(verify_with(&one, &nameless).is_ok());
    // Two keys of one name: each is taken for what it can.
    let twins = [
        with(ec_jwk(&keys().p256, "P-256", "rsa"), "alg", "ES256"),
        rsa_jwk(&keys().rsa),
    ];
    let token = token_of(&header("RS256"), &claims(&json!({})), "RS256");
    assert!(verify_with(&set_of(&twins).unwrap(), &token).is_ok());
}

#[test]
fn claims_that_are_refused() {
    let check = |changes: Value, expected: TokenFault| {
        let token = token_of(&header("ES256"), &claims(&changes), "ES256");
        assert_eq!(verified(&token).unwrap_err(), expected, "{changes}");
    };
    for required in ["exp", "iss", "aud", "sub"] {
        check(json!({ required: null }), TokenFault::Claims);
    }
    check(json!({ "exp": now() - 61 }), TokenFault::Expired);
    check(json!({ "exp": 0 }), TokenFault::Expired);
    check(
        json!({ "exp": (now() - 100) as f64 + 0.25 }),
        TokenFault::Expired,
    );
    for wrong in [
        json!("9999999999"),
        json!(-1),
        json!([9_999_999_999_u64]),
        json!(true),
        json!({}),
    ] {
        check(json!({ "exp": wrong }), TokenFault::Claims);
    }
    check(json!({ "nbf": now() + 120 }), TokenFault::NotYetValid);
    check(json!({ "nbf": "soon" }), TokenFault::Claims);
    check(
        json!({ "iss": "https://issuer.example/realms/b" }),
        TokenFault::Issuer,
    );
    check(json!({ "iss": format!("{ISSUER}/") }), TokenFault::Issuer);
    check(json!({ "iss": [ISSUER] }), TokenFault::Claims);
    for other in [
        json!("https://other.example/mcp"),
        json!("https://mcp.example/MCP"),
        json!("https://mcp.example/mcp/"),
        json!("https://mcp.example"),
        json!("https://mcp.example:443/mcp"),
        json!([]),
        json!([""]),
        json!(["https://other.example", "x"]),
    ] {
        check(json!({ "aud": other }), TokenFault::Audience);
    }
    check(json!({ "aud": 7 }), TokenFault::Claims);
    check(json!({ "aud": { AUDIENCE: true } }), TokenFault::Claims);
    for subject in ["", "a\nb", "a\u{0}", "\u{7f}", &"s".repeat(1025)] {
        check(json!({ "sub": subject }), TokenFault::Claims);
    }
    check(json!({ "sub": ["alice"] }), TokenFault::Claims);
    check(json!({ "sub": 7 }), TokenFault::Claims);
    check(json!({ "scope": 7 }), TokenFault::Claims);
    check(json!({ "scp": { "mcp.admin": true } }), TokenFault::Claims);
}

#[test]
fn claims_texts_that_are_refused() {
    let rest = format!(
        r#""iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{}"#,
        now() + 600
    );
    let check = |claims: &str| {
        let token = token_of(&header("EdDSA"), claims, "EdDSA");
        assert_eq!(
            verified(&token).unwrap_err(),
            TokenFault::Claims,
            "{claims}"
        );
    };
    check(&format!(r#"{{{rest},"sub":"alice","sub":"root"}}"#));
    check(&format!(r#"{{{rest},"sub":"alice","exp":9999999999}}"#));
    check(&format!(r#"{{{rest},"sub":"alice","aud":"x"}}"#));
    check(&format!(
        r#"{{{rest},"sub":"alice","scope":"a","scope":"mcp.admin"}}"#
    ));
    check(&format!(r#"{{{rest},"sub":"alice"}}trailing"#));
    check(&format!(r#"{{{rest},"sub":"alice""#));
    check(&format!(r#"[{{{rest},"sub":"alice"}}]"#));
    check(r#""alice""#);
    check("");
    check(&format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"a","exp":1e400}}"#
    ));
    check(&format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"a","exp":NaN}}"#
    ));
    check(&format!(r#"{{{rest},"sub":{}}}"#, nested(2000)));
    check(&format!(
        r#"{{{rest},"sub":"alice","aud":{}}}"#,
        nested(2000)
    ));
}

/// An array in an array in an array …
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn nesting_in_claims_that_nobody_reads_does_no_harm() {
    let text = claims(&json!({}));
    let text = format!("{},\"deep\":{}}}", &text[..text.len() - 1], nested(2500));
    assert!(verified(&token_of(&header("ES256"), &text, "ES256")).is_ok());
}

#[test]
fn times_with_leeway_and_fractions() {
    let check = |changes: Value| {
        let token = token_of(&header("ES384"), &claims(&changes), "ES384");
        verified(&token).unwrap_or_else(|fault| panic!("{changes}: {fault}"))
    };
    check(json!({ "exp": now() - 30 }));
    check(json!({ "nbf": now() + 30 }));
    check(json!({ "exp": u64::MAX / 4 }));
    let identity = check(json!({ "exp": 4_000_000_000.5, "nbf": 1.5 }));
    assert_eq!(
        identity.expires,
        UNIX_EPOCH + Duration::from_millis(4_000_000_000_500)
    );
}

#[test]
fn audiences_are_urls_and_names() {
    for audience in [
        json!(AUDIENCE),
        json!("HTTPS://MCP.Example/mcp"),
        json!(["https://issuer.example/userinfo", AUDIENCE]),
        json!([AUDIENCE]),
    ] {
        let changes = json!({ "aud": audience });
        assert!(verified(&token_of(&header("ES256"), &claims(&changes), "ES256")).is_ok());
    }
    assert!(is_same_audience("api://dynamic", "api://dynamic"));
    assert!(!is_same_audience("Mcp", "mcp"));
    assert!(!is_same_audience("", "mcp"));
}

#[test]
fn token_shapes_of_identity_providers() {
    let check = |name, header: Value, changes: Value, client: &str, scopes: &[&str]| {
        let token = token_of(&header.to_string(), &claims(&changes), "RS256");
        let identity = verified(&token).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(identity.client, client, "{name}");
        assert_eq!(identity.scopes, scopes, "{name}");
    };
    check(
        "Entra",
        json!({ "typ": "JWT", "alg": "RS256", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg", "kid": "rsa" }),
        json!({
            "sub": "xk7u2", "azp": "6e74", "azpacr": "1", "oid": "690", "tid": "72f", "ver": "2.0",
            "scp": "mcp.use mcp.admin", "roles": ["Admin"], "uti": "x", "rh": "0.AR", "nbf": now(),
        }),
        "6e74",
        &["mcp.use", "mcp.admin"],
    );
    check(
        "Keycloak",
        json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" }),
        json!({
            "jti": "b3", "aud": ["account", AUDIENCE], "sub": "f:1", "typ": "Bearer",
            "azp": "mcp-client", "acr": "1", "realm_access": { "roles": ["mcp.admin"] },
            "resource_access": { "account": { "roles": ["view-profile"] } },
            "scope": "openid mcp.use", "preferred_username": "alice",
        }),
        "mcp-client",
        &["openid", "mcp.use"],
    );
    check(
        "Auth0",
        json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" }),
        json!({
            "sub": "auth0|62", "aud": [AUDIENCE, "https://tenant.example/userinfo"],
            "azp": "EyH", "scope": "openid profile mcp.use", "permissions": ["mcp.admin"],
        }),
        "EyH",
        &["openid", "profile", "mcp.use"],
    );
    check(
        "Okta",
        json!({ "kid": "rsa", "alg": "RS256" }),
        json!({
            "ver": 1, "jti": "AT.x", "sub": "alice@example.com", "cid": "0oa", "uid": "00u",
            "scp": ["mcp.use", "offline_access"], "auth_time": now(),
        }),
        "alice@example.com",
        &["mcp.use", "offline_access"],
    );
    check(
        "RFC 9068",
        json!({ "kid": "rsa", "alg": "RS256", "typ": "at+jwt" }),
        json!({ "client_id": "s6Bh", "azp": "not", "scope": "a  a b", "scp": ["b", "c"] }),
        "s6Bh",
        &["a", "b", "c"],
    );
    check(
        "no scope",
        json!({ "kid": "rsa", "alg": "RS256", "typ": "at+jwt" }),
        json!({ "scope": "" }),
        "alice",
        &[],
    );
}

#[test]
fn keys_that_are_not_fit_are_left_out() {
    use crate::auth::keys::NoKeys;
    let (rsa, ec) = (rsa_jwk(&keys().rsa), ec_jwk(&keys().p256, "P-256", "p256"));
    let long = |bytes: usize| base64url(&vec![0xff; bytes]);
    let unfit = [
        with(rsa.clone(), "use", "enc"),
        with(rsa.clone(), "key_ops", json!(["encrypt", "wrapKey"])),
        with(rsa.clone(), "alg", "RSA-OAEP"),
        with(rsa.clone(), "alg", "HS256"),
        with(rsa.clone(), "alg", "ES256"),
        with(rsa.clone(), "alg", "none"),
        with(rsa.clone(), "crv", "P-256"),
        with(rsa.clone(), "kty", "oct"),
        with(rsa.clone(), "kty", "rsa"),
        with(rsa.clone(), "n", long(128)),
        with(rsa.clone(), "n", long(255)),
        with(rsa.clone(), "n", long(1025)),
        with(
            rsa.clone(),
            "n",
            base64url(&[&[0xff; 255][..], &[0xfe]].concat()),
        ),
        with(rsa.clone(), "n", "not base64url!"),
        with(rsa.clone(), "n", ""),
        with(rsa.clone(), "e", base64url(&[1])),
        with(rsa.clone(), "e", base64url(&[2])),
        with(rsa.clone(), "e", long(5)),
        with(rsa.clone(), "e", ""),
        with(rsa.clone(), "kid", 7),
        with(ec.clone(), "crv", "P-384"),
        with(ec.clone(), "crv", "secp256k1"),
        with(ec.clone(), "crv", "P-521"),
        with(ec.clone(), "alg", "ES384"),
        with(ec.clone(), "x", long(31)),
        with(ec.clone(), "y", long(33)),
        with(ec.clone(), "x", Value::Null),
        with(edwards_jwk(), "crv", "X25519"),
        with(edwards_jwk(), "crv", "Ed448"),
        with(edwards_jwk(), "x", long(31)),
        json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "rsa" }),
        json!({ "kty": "unheard-of" }),
        json!({}),
        json!(null),
        json!([1]),
        json!("RSA"),
    ];
    for jwk in &unfit {
        assert_eq!(
            set_of(std::slice::from_ref(jwk)).unwrap_err(),
            NoKeys::NoneFit,
            "{jwk}"
        );
    }
    // They do no harm to the others.
    let mixed = [&unfit[..], &[rsa.clone()][..]].concat();
    assert_eq!(set_of(&mixed).unwrap().len(), 1);
    // A sign byte in front of the modulus is no other key.
    let signed = [
        &[0][..],
        &PublicKeyComponents::<Vec<u8>>::from(keys().rsa.public()).n,
    ]
    .concat();
    let token = token_of(&header("RS256"), &claims(&json!({})), "RS256");
    let set = set_of(&[with(rsa.clone(), "n", base64url(&signed))]).unwrap();
    assert!(verify_with(&set, &token).is_ok());
    // A point that lies on no curve is found out at the first signature.
    let set = set_of(&[with(ec, "y", long(32))]).unwrap();
    let token = token_of(&header("ES256"), &claims(&json!({})), "ES256");
    assert_eq!(
        verify_with(&set, &token).unwrap_err(),
        TokenFault::Signature
    );
    assert_eq!(set_of(&vec![rsa; 100]).unwrap().len(), 64);
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"keys":{}}"#,
        "{\"keys\":[",
        &nested(5000),
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()).unwrap_err(),
            NoKeys::Malformed,
            "{text:.20}"
        );
    }
    assert_eq!(set_of(&[]).unwrap_err(), NoKeys::NoneFit);
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
