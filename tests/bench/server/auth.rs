//! What checking tokens and writing an audit log cost: the same server with and without, in turns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dynamic_mcp::base::ids::random_hex;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::process::Server;
use super::throughput::{compare, has_wrk};

const CLIENTS: [u32; 2] = [8, 64];
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://mcp.example/mcp";
/// How long the server may take to have read its keys.
const KEYS_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn report() {
    println!("\n## Tokens and audit log, on beside off\n");
    if !has_wrk() {
        return;
    }
    let issuer = Issuer::new();
    let jwks = format!("file://{}", issuer.keys.display());
    let authorization = format!("Bearer {}", issuer.token());
    let off = Server::ours(&[]);
    let on = Server::ours(&[
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", &jwks),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
        ("MCP_AUDIT_ENABLED", "true"),
    ]);
    await_keys(&on, &authorization);
    println!("`x` is the ratio to the server without both, which is aimed at 0.85 or more.\n");
    println!("| call | clients | server | a second | x | p99 | threads | RSS MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    let servers = [("neither", &off), ("tokens and audit log", &on)];
    // The other server gets the token, too, and does not look at it.
    let fields = [("Authorization", authorization.as_str())];
    let health = json!({ "name": "system.health", "arguments": {} });
    for (method, params) in [("tools/call", health), ("tools/list", json!({}))] {
        for clients in CLIENTS {
            compare(method, &params, clients, &servers, &fields);
        }
    }
}

fn await_keys(server: &Server, authorization: &str) {
    let began = SystemTime::now();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    loop {
        let fields = [("Authorization", authorization)];
        let (status, text) = server.connect().post("/mcp", &fields, ping);
        if status == 200 {
            return;
        }
        assert!(began.elapsed().unwrap() < KEYS_TIMEOUT, "{status} {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A key, and the file that publishes it; the file goes with this.
struct Issuer {
    key: Ed25519KeyPair,
    keys: std::path::PathBuf,
}

impl Issuer {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let x = base64url(key.public_key().as_ref());
        let jwks = json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "bench", "alg": "EdDSA", "use": "sig", "x": x },
        ] });
        let keys = std::env::temp_dir().join(format!("bench-{}.jwks", random_hex()));
        std::fs::write(&keys, jwks.to_string()).unwrap();
        Self { key, keys }
    }

    fn token(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let head = json!({ "alg": "EdDSA", "kid": "bench", "typ": "JWT" });
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "exp": now.as_secs() + 3600,
        });
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", base64url(signature.as_ref()))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.keys);
    }
}

/// Without padding (RFC 7515, appendix C).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..=chunk.len()).map(move |digit| (bits >> (18 - 6 * digit) & 63) as usize)
    });
    digits.map(|digit| char::from(ALPHABET[digit])).collect()
}
