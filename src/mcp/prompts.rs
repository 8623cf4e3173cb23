//! `prompts/*`, in both eras.

use serde::Deserialize;

use super::calls::{MAX_SHOWN_NAME, Via};
use super::classify::Era;
use super::dispatch::read;
use super::jsonrpc::{Request, RpcError};
use super::lists::{Listed, View};
use super::paging::page;
use super::rendered::not_rendered;
use super::request_state::Bound;
use super::{Server, wire};
use crate::base::text::clip;
use crate::domain::json::JsonText;
use crate::tools::{CallContext, NotRendered, Outcome, PromptArguments};

impl Server {
    pub(super) fn list_prompts(&self, request: &Request<'_>, era: Era) -> Result<String, RpcError> {
        let make = || {
            let (prompts, next) = page(request, self.tools.list_prompts(), |prompt| &prompt.name)?;
            Ok(wire::list_result("prompts", prompts, next, era))
        };
        let (mark, view) = (self.tools.prompts_mark(), View { own: 0, era });
        self.listed(request, Listed::Prompts, mark, view, make)
    }

    pub(super) fn get_prompt(
        &self,
        request: &Request<'_>,
        via: Via<'_>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            name: String,
            arguments: Option<JsonText>,
        }
        let Params { name, arguments } = read(request)?;
        let arguments = arguments.unwrap_or_else(JsonText::empty_object);
        let given: PromptArguments = serde_json::from_str(arguments.text()).map_err(|_| {
            RpcError::invalid_params("params.arguments must be an object of strings")
        })?;
        let bound = Bound {
            principal: context.caller.principal(),
            method: &request.method,
            name: &name,
            arguments: &arguments,
        };
        let reached = self.reach(request, via, bound, context.cancel)?;
        let context = &reached.within(context);
        let rendered =
            self.tools
                .get_prompt(context, &name, &given)
                .map_err(|reason| match reason {
                    NotRendered::Unknown => unknown(&name),
                    reason => not_rendered(reason, "prompt"),
                })?;
        let image = rendered.image.as_ref();
        Ok(match &rendered.outcome {
            Outcome::Done(prompt) => wire::prompt_result(prompt, image, via.era),
            Outcome::Asked(asked) => self.input_required(bound, asked, image),
        })
    }
}

pub(super) fn unknown(name: &str) -> RpcError {
    RpcError::invalid_params(format!(
        "there is no prompt named \"{}\"; prompts/list has those there are",
        clip(name, MAX_SHOWN_NAME)
    ))
}
