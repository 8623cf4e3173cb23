//! Keys of an issuer that are taken, and that are not.

use super::*;

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
