//! Why there is no prompt or no content of a resource, as the protocol says it: these have no
//! result that says that it failed, so it is an error.

use serde_json::{Value, json};

use super::jsonrpc::{RpcError, code};
use crate::domain::failure::{Failure, FailureKind};
use crate::tools::NotRendered;

/// What a client reads of everything but that there is no such thing; `what` it asked for.
pub(super) fn not_rendered(reason: NotRendered, what: &str) -> RpcError {
    match reason {
        NotRendered::Unknown => RpcError::invalid_params(format!("there is no such {what}")),
        NotRendered::Changed => RpcError::invalid_params(format!(
            "the {what} has changed since it asked: ask for it anew, without params.requestState"
        )),
        NotRendered::Invalid(message) => RpcError::invalid_params(message),
        NotRendered::Failed(failure) => failed(&failure, what),
    }
}

fn failed(failure: &Failure, what: &str) -> RpcError {
    let (code, message) = match failure.kind {
        FailureKind::Busy | FailureKind::RateLimited => {
            (code::TOO_MANY_REQUESTS, failure.message.clone())
        }
        kind => {
            let (kind, message) = (kind.as_str(), &failure.message);
            let told = match failure.line {
                Some(line) => format!("the {what}'s code: {kind} at line {line}: {message}"),
                None => format!("the {what}: {kind}: {message}"),
            };
            (code::INTERNAL_ERROR, told)
        }
    };
    let mut data = json!({ "kind": failure.kind });
    let mut put = |name: &str, value: Option<Value>| {
        if let (Some(fields), Some(value)) = (data.as_object_mut(), value) {
            fields.insert(name.to_owned(), value);
        }
    };
    put("line", failure.line.map(Value::from));
    put("column", failure.column.map(Value::from));
    put("retryAfterMs", failure.retry_after_ms.map(Value::from));
    let stderr = Some(failure.stderr.as_str()).filter(|text| !text.is_empty());
    put("stderr", stderr.map(Value::from));
    RpcError {
        data: Some(data),
        ..RpcError::new(code, message)
    }
}
