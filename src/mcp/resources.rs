//! `resources/*`, in both eras.

use serde::Deserialize;
use serde_json::json;

use super::calls::Via;
use super::classify::Era;
use super::dispatch::read;
use super::jsonrpc::{Request, RpcError, code};
use super::lists::{Listed, View};
use super::paging::page;
use super::rendered::not_rendered;
use super::request_state::Bound;
use super::{Server, wire};
use crate::domain::json::JsonText;
use crate::tools::{CallContext, NotRendered, Outcome};

/// Longer ones are told from others by nobody; they would only be echoed.
const MAX_URI_BYTES: usize = 8192;

impl Server {
    pub(super) fn list_resources(
        &self,
        request: &Request<'_>,
        era: Era,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let make = || {
            let resources = self.tools.list_resources(context.caller);
            let (resources, next) = page(request, resources, |resource| resource.address())?;
            Ok(wire::list_result("resources", resources, next, era))
        };
        let mark = self.tools.resources_mark();
        let own = self.tools.own_resources(context.caller);
        self.listed(request, Listed::Resources, mark, View { own, era }, make)
    }

    pub(super) fn list_resource_templates(
        &self,
        request: &Request<'_>,
        era: Era,
    ) -> Result<String, RpcError> {
        let make = || {
            let templates = self.tools.list_resource_templates();
            let (templates, next) = page(request, templates, |template| template.address())?;
            Ok(wire::list_result("resourceTemplates", templates, next, era))
        };
        let (mark, view) = (self.tools.resources_mark(), View { own: 0, era });
        self.listed(request, Listed::Templates, mark, view, make)
    }

    pub(super) fn read_resource(
        &self,
        request: &Request<'_>,
        via: Via<'_>,
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
        let nothing = JsonText::empty_object();
        let bound = Bound {
            principal: context.caller.principal(),
            method: &request.method,
            name: &uri,
            arguments: &nothing,
        };
        let reached = self.reach(request, via, bound, context.cancel)?;
        let context = &reached.within(context);
        let rendered = self
            .tools
            .read_resource(context, &uri)
            .map_err(|reason| match reason {
                NotRendered::Unknown => unknown(&uri, via.era),
                reason => not_rendered(reason, "resource"),
            })?;
        let image = rendered.image.as_ref();
        Ok(match rendered.outcome {
            Outcome::Done(parts) => wire::list_result("contents", parts, None, via.era),
            Outcome::Asked(asked) => self.input_required(bound, &asked, image),
        })
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
