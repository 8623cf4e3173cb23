//! Probes and metrics: no token, no Host check (they are restricted at the network's edge), always
//! from what is known already.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::request::Request;
use super::response::Answer;
use super::{Shared, exposure};

/// Below this many bytes compressing is not worth it.
const GZIP_FROM_BYTES: usize = 1024;

pub(super) fn livez(request: &Request<'_>) -> Answer {
    only_get(request, || {
        Answer::json(200, r#"{"status":"ok"}"#.to_owned())
    })
}

pub(super) fn readyz(shared: &Shared, request: &Request<'_>) -> Answer {
    only_get(request, || {
        let (ready, body) = shared.services.readiness.report();
        Answer::json(if ready { 200 } else { 503 }, body.to_string())
    })
}

pub(super) fn metrics(shared: &Shared, request: &Request<'_>) -> Answer {
    only_get(request, || {
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        let text = exposure::metrics_text(shared).into_bytes();
        let wants_gzip = request
            .header("Accept-Encoding")
            .is_some_and(|codings| codings.split(',').any(is_gzip));
        if !wants_gzip || text.len() < GZIP_FROM_BYTES {
            return Answer::text(content_type, text);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        match encoder.write_all(&text).and_then(|()| encoder.finish()) {
            Ok(packed) => Answer::text(content_type, packed)
                .with("Content-Encoding", "gzip")
                .with("Vary", "Accept-Encoding"),
            Err(_) => Answer::text(content_type, text),
        }
    })
}

/// Whether one member of Accept-Encoding asks for gzip (RFC 9110, section 12.5.3).
fn is_gzip(coding: &str) -> bool {
    let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
    let refused = parameters.trim().strip_prefix("q=").is_some_and(|quality| {
        quality
            .trim()
            .parse::<f32>()
            .is_ok_and(|quality| quality == 0.0)
    });
    name.trim().eq_ignore_ascii_case("gzip") && !refused
}

fn only_get(request: &Request<'_>, answer: impl FnOnce() -> Answer) -> Answer {
    match request.method {
        "GET" | "HEAD" => answer(),
        _ => Answer::error(405, "this path takes GET").with("Allow", "GET, HEAD"),
    }
}
