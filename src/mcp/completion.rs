//! `completion/complete`: values that may be meant for what is being typed. They come from what the
//! author declared, compared by their beginning.

use serde::Deserialize;
use serde_json::{Map, json};

use super::classify::Era;
use super::dispatch::read;
use super::jsonrpc::{Request, RpcError};
use super::{Server, prompts, wire};
use crate::tools::CallContext;

/// Most values of one answer (MCP, `CompleteResult`).
const MAX_VALUES: usize = 100;

#[derive(Deserialize)]
struct Params {
    r#ref: Reference,
    argument: Argument,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Reference {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    value: String,
}

impl Server {
    pub(super) fn complete(
        &self,
        request: &Request<'_>,
        era: Era,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let Params { r#ref, argument } = read(request)?;
        let choices = match &r#ref {
            Reference::Prompt { name } => self
                .tools
                .prompt_choices(context.caller, name, &argument.name)
                .map_err(|_| prompts::unknown(name))?,
            Reference::Resource { uri } => self
                .tools
                .resource_choices(context.caller, uri, &argument.name)
                .map_err(|_| {
                    RpcError::invalid_params("there is no resource or template of params.ref.uri")
                })?,
        };
        let typed = argument.value.to_lowercase();
        let mut values = choices;
        values.retain(|value| value.to_lowercase().starts_with(&typed));
        let total = values.len();
        values.truncate(MAX_VALUES);
        let completion = json!({
            "values": values,
            "total": total,
            "hasMore": total > MAX_VALUES,
        });
        let result = Map::from_iter([("completion".to_owned(), completion)]);
        Ok(wire::finish(result, era))
    }
}
