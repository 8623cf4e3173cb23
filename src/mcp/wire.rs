//! Results as each era writes them.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::classify::Era;
use crate::domain::asking::{Ask, AskKind};
use crate::domain::image::UsedImage;
use crate::domain::json::JsonText;
use crate::tools::{Asked, ListedTool, PromptMessages, ToolAnswer};

/// How long a client may keep a list, in milliseconds. Not at all: who has made a tool lists again
/// at once, and would not find it.
const LIST_TTL_MS: u64 = 0;

/// Name and version, as `serverInfo`.
#[derive(Serialize)]
pub(super) struct ServerInfo {
    name: &'static str,
    title: &'static str,
    version: &'static str,
}

pub(super) const SERVER_INFO: ServerInfo = ServerInfo {
    name: "dynamic-mcp",
    title: "dynamic-mcp",
    version: env!("CARGO_PKG_VERSION"),
};

/// `_meta` of a result.
#[derive(Serialize, Default)]
struct Meta<'a> {
    #[serde(
        rename = "io.modelcontextprotocol/serverInfo",
        skip_serializing_if = "Option::is_none"
    )]
    server_info: Option<ServerInfo>,
    /// The image that a call's code ran in, by name, id and digest.
    #[serde(rename = "dynamic-mcp/image", skip_serializing_if = "Option::is_none")]
    image: Option<&'a UsedImage>,
}

/// What every result of the stateless era says of us.
const META: Meta<'static> = Meta {
    server_info: Some(SERVER_INFO),
    image: None,
};

/// The tag of everything that belongs to a subscription.
pub(super) const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The result of `subscriptions/listen`, which comes when the server ends it.
pub(super) fn subscription_ended(id: &Value) -> String {
    let info = "io.modelcontextprotocol/serverInfo";
    let meta = json!({ info: SERVER_INFO, META_SUBSCRIPTION: id });
    json!({ "resultType": "complete", "_meta": meta }).to_string()
}

/// Completes a result object for its era.
pub(super) fn finish(mut result: Map<String, Value>, era: Era) -> String {
    if era == Era::Modern {
        result.insert("resultType".to_owned(), "complete".into());
        result.insert("_meta".to_owned(), json!(META));
    }
    Value::Object(result).to_string()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Meta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_scope: Option<&'static str>,
}

impl Extra<'_> {
    fn of(era: Era, cacheable: bool) -> Self {
        let modern = era == Era::Modern;
        Self {
            result_type: modern.then_some("complete"),
            meta: modern.then_some(META),
            ttl_ms: (modern && cacheable).then_some(LIST_TTL_MS),
            cache_scope: (modern && cacheable).then_some("private"),
        }
    }
}

/// `CallToolResult`. Handshake revisions take objects only as structured content.
pub(super) fn call_result(answer: &ToolAnswer, era: Era) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        content: &'a JsonText,
        #[serde(skip_serializing_if = "Option::is_none")]
        structured_content: Option<&'a JsonText>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(flatten)]
        extra: Extra<'a>,
    }
    let structured = answer.structured_content.as_ref();
    let mut extra = Extra::of(era, false);
    if let Some(image) = &answer.image {
        extra.meta.get_or_insert_default().image = Some(image);
    }
    let wire = Wire {
        content: &answer.content,
        structured_content: structured
            .filter(|value| era == Era::Modern || value.text().starts_with('{')),
        is_error: answer.is_error,
        extra,
    };
    serde_json::to_string(&wire).unwrap_or_default()
}

/// `GetPromptResult`.
pub(super) fn prompt_result(
    prompt: &PromptMessages,
    image: Option<&UsedImage>,
    era: Era,
) -> String {
    #[derive(Serialize)]
    struct Wire<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        messages: &'a JsonText,
        #[serde(flatten)]
        extra: Extra<'a>,
    }
    let mut extra = Extra::of(era, false);
    if image.is_some() {
        extra.meta.get_or_insert_default().image = image;
    }
    let wire = Wire {
        description: prompt.description.as_deref(),
        messages: &prompt.messages,
        extra,
    };
    serde_json::to_string(&wire).unwrap_or_default()
}

/// `InputRequiredResult`: what the client is asked, and what it is to bring back with its answers.
pub(super) fn input_required(asked: &Asked, state: &str, image: Option<&UsedImage>) -> String {
    #[derive(Serialize)]
    struct InputRequest<'a> {
        method: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        params: Option<&'a JsonText>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        result_type: &'static str,
        #[serde(serialize_with = "in_order")]
        input_requests: &'a [Ask],
        request_state: &'a str,
        #[serde(rename = "_meta")]
        meta: Meta<'a>,
    }
    fn in_order<S: Serializer>(questions: &[Ask], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(questions.iter().map(|ask| {
            let params = (ask.kind != AskKind::ListRoots).then_some(&ask.params);
            let method = ask.kind.method();
            (&ask.key, InputRequest { method, params })
        }))
    }
    let wire = Wire {
        result_type: "input_required",
        input_requests: &asked.questions,
        request_state: state,
        meta: Meta { image, ..META },
    };
    serde_json::to_string(&wire).unwrap_or_default()
}

/// One page of a list under its own name: `ListToolsResult` and its like.
pub(super) fn list_result<T: Serialize>(
    name: &'static str,
    items: Vec<T>,
    next: Option<String>,
    era: Era,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<T> {
        #[serde(flatten)]
        items: BTreeMap<&'static str, Vec<T>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
        #[serde(flatten)]
        extra: Extra<'static>,
    }
    let wire = Wire {
        items: BTreeMap::from([(name, items)]),
        next_cursor: next,
        extra: Extra::of(era, true),
    };
    serde_json::to_string(&wire).unwrap_or_default()
}

/// `ListToolsResult`. Handshake revisions take output schemas of objects only.
pub(super) fn tools_result(mut tools: Vec<ListedTool>, next: Option<String>, era: Era) -> String {
    if era == Era::Legacy {
        for tool in &mut tools {
            if !tool.has_object_output() {
                tool.output_schema = None;
            }
        }
    }
    list_result("tools", tools, next, era)
}

/// `DiscoverResult` and its like: an object of few fields.
pub(super) fn cacheable(mut result: Map<String, Value>, era: Era) -> String {
    result.insert("ttlMs".to_owned(), LIST_TTL_MS.into());
    result.insert("cacheScope".to_owned(), "private".into());
    finish(result, era)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_stands_beside_what_each_era_says_of_itself() {
        let mut answer = ToolAnswer {
            content: JsonText::from_value(&json!([])),
            structured_content: None,
            is_error: false,
            image: None,
            asked: None,
        };
        let meta = |answer: &ToolAnswer, era| {
            let result: Value = serde_json::from_str(&call_result(answer, era)).unwrap();
            result.get("_meta").cloned()
        };
        let info = json!({ "io.modelcontextprotocol/serverInfo": SERVER_INFO });
        assert_eq!(meta(&answer, Era::Legacy), None);
        assert_eq!(meta(&answer, Era::Modern), Some(info.clone()));
        let image = json!({ "name": "node:22", "id": "sha256:01" });
        answer.image = Some(UsedImage {
            name: "node:22".to_owned(),
            id: "sha256:01".to_owned(),
            digest: None,
        });
        let expected = json!({ "dynamic-mcp/image": image });
        assert_eq!(meta(&answer, Era::Legacy), Some(expected));
        let mut both = info;
        both["dynamic-mcp/image"] = image;
        assert_eq!(meta(&answer, Era::Modern), Some(both));
    }
}
