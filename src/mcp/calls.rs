//! `tools/call`: what the client says beside the arguments, and what it is told when there is no
//! result, or none yet.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::classify::{Era, META_CAPABILITIES, Transport};
use super::dispatch::read;
use super::jsonrpc::{Request, RpcError, code};
use super::request_state::{self, Bound};
use super::{Server, param_headers, wire};
use crate::base::clock::unix_millis;
use crate::base::text::clip;
use crate::domain::asking::ClientCapability;
use crate::domain::image::UsedImage;
use crate::domain::json::JsonText;
use crate::tools::{Answers, Asked, CallContext, Capabilities, Client, NotCalled};

/// Bytes of an unknown name that are told back.
pub(super) const MAX_SHOWN_NAME: usize = 64;

/// What a call of the stateless era brings beside its arguments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modern {
    #[serde(default, rename = "_meta")]
    meta: Map<String, Value>,
    input_responses: Option<Answers>,
    request_state: Option<String>,
}

impl Server {
    /// `modern` is the transport of a request of the stateless era.
    pub(super) fn call_tool(
        &self,
        request: &Request<'_>,
        modern: Option<Transport<'_>>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            name: String,
            arguments: Option<JsonText>,
        }
        let params: Params = read(request)?;
        let arguments = params.arguments.unwrap_or_else(JsonText::empty_object);
        if !arguments.text().starts_with('{') {
            return Err(RpcError::invalid_params(
                "params.arguments must be an object",
            ));
        }
        let bound = Bound {
            principal: context.caller.principal(),
            method: &request.method,
            name: &params.name,
            arguments: &arguments,
        };
        let client = match modern {
            None => Client::MUTE,
            Some(_) => self.client(request, bound)?,
        };
        let context = &CallContext {
            client: &client,
            ..*context
        };
        if let Some(Transport::Http(headers)) = modern
            && let Some(schema) = self.tools.author_schema(&client, &params.name)
        {
            param_headers::check(&schema, &arguments, &headers.params)?;
        }
        let answer = self
            .tools
            .call(context, &params.name, &arguments)
            .map_err(|reason| refusal(reason, &params.name))?;
        let Some(asked) = &answer.asked else {
            let era = modern.map_or(Era::Legacy, |_| Era::Modern);
            return Ok(wire::call_result(&answer, era));
        };
        Ok(self.input_required(bound, asked, answer.image.as_ref()))
    }

    /// Questions to the client of a request that may have some, with what it is to bring back.
    pub(super) fn input_required(
        &self,
        bound: Bound<'_>,
        asked: &Asked,
        image: Option<&UsedImage>,
    ) -> String {
        let state = request_state::seal(&self.state_key, bound, &asked.so_far, seconds());
        wire::input_required(asked, &state, image)
    }

    /// The client of a request of the stateless era that may have questions.
    pub(super) fn client(
        &self,
        request: &Request<'_>,
        bound: Bound<'_>,
    ) -> Result<Client, RpcError> {
        let given: Modern = read(request)?;
        let open = |text: String| {
            request_state::open(&self.state_key, bound, &text, seconds()).ok_or_else(|| {
                RpcError::invalid_params(
                    "params.requestState does not belong to this call, or is too old: call anew, \
                     without it",
                )
            })
        };
        Ok(Client {
            capabilities: Some(capabilities(given.meta.get(META_CAPABILITIES))),
            earlier: given.request_state.map(open).transpose()?,
            answers: given.input_responses.unwrap_or_default(),
        })
    }
}

fn seconds() -> u64 {
    unix_millis(SystemTime::now()) / 1000
}

/// Why there is no call, as the protocol says it.
fn refusal(reason: NotCalled, name: &str) -> RpcError {
    match reason {
        NotCalled::Unknown => RpcError::invalid_params(format!(
            "there is no tool named \"{}\", or it is disabled; tools/list has those there are",
            clip(name, MAX_SHOWN_NAME)
        )),
        NotCalled::Denied(denied) => RpcError::denied(denied),
        NotCalled::Incapable(required) => incapable(&required),
        NotCalled::ToolChanged => RpcError::invalid_params(
            "the tool has changed since it asked: call it anew, without params.requestState",
        ),
    }
}

fn incapable(required: &BTreeSet<ClientCapability>) -> RpcError {
    let names: Vec<_> = required.iter().map(|one| one.as_str()).collect();
    let needed = names.iter().map(|name| ((*name).to_owned(), json!({})));
    let needed: Map<String, Value> = needed.collect();
    let message = format!(
        "this tool asks its caller, who must declare the client capabilities it requires: {}",
        names.join(", ")
    );
    RpcError {
        data: Some(json!({ "requiredCapabilities": needed })),
        ..RpcError::new(code::MISSING_CAPABILITY, message)
    }
}

/// What `ClientCapabilities` declare; what is no object declares nothing.
fn capabilities(declared: Option<&Value>) -> Capabilities {
    let get = |name: &str| {
        declared
            .and_then(|all| all.get(name))
            .filter(|it| it.is_object())
    };
    let part = |whole: Option<&Value>, name: &str| {
        whole.is_some_and(|whole| whole.get(name).is_some_and(Value::is_object))
    };
    let (elicitation, sampling) = (get("elicitation"), get("sampling"));
    let elicits_urls = part(elicitation, "url");
    Capabilities {
        elicitation: elicitation.is_some(),
        elicits_forms: part(elicitation, "form") || elicitation.is_some() && !elicits_urls,
        elicits_urls,
        sampling: sampling.is_some(),
        samples_tools: part(sampling, "tools"),
        samples_context: part(sampling, "context"),
        roots: get("roots").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_declare() {
        let check = |declared: Value, expected: &[&str]| {
            let found = capabilities(Some(&declared));
            let parts = [
                ("elicitation", found.elicitation),
                ("form", found.elicits_forms),
                ("url", found.elicits_urls),
                ("sampling", found.sampling),
                ("tools", found.samples_tools),
                ("context", found.samples_context),
                ("roots", found.roots),
            ];
            let parts = parts.iter().filter(|(_, is_declared)| *is_declared);
            let found: Vec<_> = parts.map(|(name, _)| *name).collect();
            assert_eq!(found, expected, "{declared}");
        };
        check(json!({}), &[]);
        check(
            json!({"tasks": {}, "elicitation": true, "roots": null}),
            &[],
        );
        check(json!({"elicitation": {}}), &["elicitation", "form"]);
        let url = json!({"elicitation": {"url": {}}});
        check(url, &["elicitation", "url"]);
        let both = json!({"elicitation": {"url": {}, "form": {}}});
        check(both, &["elicitation", "form", "url"]);
        check(json!({"sampling": {}, "roots": {}}), &["sampling", "roots"]);
        let whole = json!({"sampling": {"tools": {}, "context": {}}});
        check(whole, &["sampling", "tools", "context"]);
        assert_eq!(capabilities(None), Capabilities::default());
    }
}
