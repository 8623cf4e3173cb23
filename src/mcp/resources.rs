//! `resources/*`, in both eras.

use serde::Deserialize;
use serde_json::json;

use super::classify::Era;
use super::dispatch::read;
use super::jsonrpc::{Request, RpcError, code};
use super::paging::page;
use super::{Server, wire};
use crate::domain::failure::Failure;
use crate::tools::{CallContext, NotRead};

/// Longer ones are told from others by nobody; they would only be echoed.
const MAX_URI_BYTES: usize = 8192;

impl Server {
    pub(super) fn list_resources(
        &self,
        request: &Request<'_>,
        era: Era,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let resources = self.tools.list_resources(context.caller);
        let (resources, next) = page(request, resources, |resource| &resource.uri)?;
        Ok(wire::list_result("resources", resources, next, era))
    }

    pub(super) fn read_resource(
        &self,
        request: &Request<'_>,
        era: Era,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            uri: String,
        }
        let Params { uri } = read(request)?;
        if uri.len() > MAX_URI_BYTES {
            let message = format!("params.uri is longer than {MAX_URI_BYTES} bytes");
            return Err(RpcError::invalid_params(message));
        }
        match self.tools.read_resource(context, &uri) {
            Ok(contents) => Ok(wire::list_result("contents", contents, None, era)),
            Err(NotRead::Unknown) => Err(unknown(&uri, era)),
            Err(NotRead::Refused(failure)) => Err(refused(&failure)),
        }
    }
}

/// There are none yet.
pub(super) fn list_resource_templates(request: &Request<'_>, era: Era) -> Result<String, RpcError> {
    let (none, next) = page(request, Vec::<String>::new(), |template| template)?;
    Ok(wire::list_result("resourceTemplates", none, next, era))
}

fn refused(failure: &Failure) -> RpcError {
    let retry = failure.retry_after_ms;
    RpcError {
        data: retry.map(|millis| json!({ "retryAfterMs": millis })),
        ..RpcError::new(code::TOO_MANY_REQUESTS, failure.message.clone())
    }
}

fn unknown(uri: &str, era: Era) -> RpcError {
    let code = match era {
        Era::Legacy => code::RESOURCE_NOT_FOUND,
        Era::Modern => code::INVALID_PARAMS,
    };
    RpcError {
        data: Some(json!({ "uri": uri })),
        ..RpcError::new(code, "there is no resource of that URI")
    }
}
