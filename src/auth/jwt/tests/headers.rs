//! Algorithms, types, key ids: what a token says of itself.

use super::*;

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
