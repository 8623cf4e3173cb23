//! The least an async HTTP server does: takes a POST, reads its body as JSON, answers with JSON of
//! the same id. Prints its port.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

async fn echo(body: Bytes) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    let id =
        serde_json::from_slice::<Request<'_>>(&body).map_or("null", |request| request.id.get());
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    ([(CONTENT_TYPE, "application/json")], text)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, Router::new().route("/mcp", post(echo))).await
}
