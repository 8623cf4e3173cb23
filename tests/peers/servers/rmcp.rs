//! A server made with the Rust SDK: `system.health`, and the list of tools in the file that is its
//! argument (a JSON array, as in a result of `tools/list`). Prints its port.

use axum::Router;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone)]
struct Peer {
    tools: Arc<Vec<Tool>>,
    began: Instant,
}

impl ServerHandler for Peer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != "system.health" {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        }
        let health = serde_json::json!({
            "status": "ok",
            "service": "peer",
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": self.began.elapsed().as_secs(),
        });
        Ok(CallToolResult::structured(health).into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: rmcp-server FILE")?;
    let peer = Peer {
        tools: Arc::new(serde_json::from_str(&std::fs::read_to_string(path)?)?),
        began: Instant::now(),
    };
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.json_response = true;
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(peer.clone()), sessions, config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}
