//! Claims: who, for whom, from when to when.

use super::*;

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
