//! What can be audited: the closed set of actions (contract, section 8), who did them, to what,
//! and the details of each. Arguments of calls have no place here, and code only its digest.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::base::ids::hex;
use crate::domain::entry::Kind;
use crate::domain::image::UsedImage;
use crate::domain::principal::Principal;

/// What was done or tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// A caller proved who it is, or failed to.
    HttpAuth,
    /// A tool was made.
    ToolCreate,
    /// A tool was changed.
    ToolUpdate,
    /// A tool was removed.
    ToolDelete,
    /// A tool was shown again.
    ToolEnable,
    /// A tool was hidden.
    ToolDisable,
    /// A prompt was made.
    PromptCreate,
    /// A prompt was changed.
    PromptUpdate,
    /// A prompt was removed.
    PromptDelete,
    /// A resource was made.
    ResourceCreate,
    /// A resource was changed.
    ResourceUpdate,
    /// A resource was removed.
    ResourceDelete,
    /// Code of a dynamic tool, prompt or resource ran.
    Exec,
    /// Code ran that nobody stored.
    RunJs,
    /// A sandbox was started.
    SandboxInitialize,
    /// Commands ran in a sandbox.
    SandboxExec,
    /// Code ran in a sandbox.
    SandboxRunJs,
    /// A sandbox was ended.
    SandboxStop,
    /// Another server was attached.
    UpstreamAttach,
    /// Another server was let go.
    UpstreamDetach,
    /// The guard refused a run.
    GuardReject,
    /// The registry was read anew.
    RegistryRefresh,
    /// An execution engine was chosen.
    EngineSelect,
    /// This instance began.
    ServerStart,
    /// This instance ended in order.
    ServerStop,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 25] = [
        Self::HttpAuth,
        Self::ToolCreate,
        Self::ToolUpdate,
        Self::ToolDelete,
        Self::ToolEnable,
        Self::ToolDisable,
        Self::PromptCreate,
        Self::PromptUpdate,
        Self::PromptDelete,
        Self::ResourceCreate,
        Self::ResourceUpdate,
        Self::ResourceDelete,
        Self::Exec,
        Self::RunJs,
        Self::SandboxInitialize,
        Self::SandboxExec,
        Self::SandboxRunJs,
        Self::SandboxStop,
        Self::UpstreamAttach,
        Self::UpstreamDetach,
        Self::GuardReject,
        Self::RegistryRefresh,
        Self::EngineSelect,
        Self::ServerStart,
        Self::ServerStop,
    ];

    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpAuth => "http.auth",
            Self::ToolCreate => "dynamic.tool.create",
            Self::ToolUpdate => "dynamic.tool.update",
            Self::ToolDelete => "dynamic.tool.delete",
            Self::ToolEnable => "dynamic.tool.enable",
            Self::ToolDisable => "dynamic.tool.disable",
            Self::PromptCreate => "dynamic.prompt.create",
            Self::PromptUpdate => "dynamic.prompt.update",
            Self::PromptDelete => "dynamic.prompt.delete",
            Self::ResourceCreate => "dynamic.resource.create",
            Self::ResourceUpdate => "dynamic.resource.update",
            Self::ResourceDelete => "dynamic.resource.delete",
            Self::Exec => "dynamic.exec",
            Self::RunJs => "run_js_ephemeral",
            Self::SandboxInitialize => "sandbox.initialize",
            Self::SandboxExec => "sandbox.exec",
            Self::SandboxRunJs => "sandbox.run_js",
            Self::SandboxStop => "sandbox.stop",
            Self::UpstreamAttach => "upstream.mcp.attach",
            Self::UpstreamDetach => "upstream.mcp.detach",
            Self::GuardReject => "guard.reject",
            Self::RegistryRefresh => "registry.refresh",
            Self::EngineSelect => "engine.select",
            Self::ServerStart => "server.start",
            Self::ServerStop => "server.stop",
        }
    }

    /// The action that a built-in tool is; reading has none.
    pub fn of_tool(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .filter(|action| !matches!(action, Self::Exec | Self::ToolDisable))
            .find(|action| action.as_str() == name)
    }

    /// The action that a change of an entry is.
    pub fn of_change(kind: Kind, change: Change) -> Self {
        match (kind, change) {
            (Kind::Tool, Change::Create) => Self::ToolCreate,
            (Kind::Tool, Change::Update) => Self::ToolUpdate,
            (Kind::Tool, Change::Delete) => Self::ToolDelete,
            (Kind::Prompt, Change::Create) => Self::PromptCreate,
            (Kind::Prompt, Change::Update) => Self::PromptUpdate,
            (Kind::Prompt, Change::Delete) => Self::PromptDelete,
            (Kind::Resource, Change::Create) => Self::ResourceCreate,
            (Kind::Resource, Change::Update) => Self::ResourceUpdate,
            (Kind::Resource, Change::Delete) => Self::ResourceDelete,
        }
    }

    /// Whether foreign code or commands run: a line is written before and another one after.
    pub fn is_execution(self) -> bool {
        matches!(
            self,
            Self::Exec | Self::RunJs | Self::SandboxExec | Self::SandboxRunJs
        )
    }
}

/// What is done to an entry of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Create,
    /// It has another definition.
    Update,
    /// It is gone.
    Delete,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActResult {
    /// As asked; of the line before an execution: it was allowed and begins.
    Success,
    /// It was allowed and went wrong.
    Error,
    /// It was not allowed.
    Denied,
}

impl ActResult {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Denied => "denied",
        }
    }
}

/// Who acted; nothing is known of a caller that did not prove who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Who vouches for the subject.
    pub issuer: Option<String>,
    /// The caller's name with that issuer.
    pub subject: Option<String>,
    /// The program that it uses.
    pub client: Option<String>,
}

impl Actor {
    /// This server itself.
    pub fn server() -> Self {
        Self {
            issuer: Some("dynamic-mcp".to_owned()),
            subject: Some("server".to_owned()),
            client: None,
        }
    }
}

impl Actor {
    /// A caller and the program that it uses.
    pub fn of_client(principal: &Principal, client: &str) -> Self {
        let client = (!client.is_empty()).then(|| client.to_owned());
        Self {
            client,
            ..Self::from(principal)
        }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self {
            issuer: Some(principal.issuer.clone()),
            subject: Some(principal.subject.clone()),
            client: None,
        }
    }
}

/// One act, whatever comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub action: Action,
    /// Who.
    pub actor: Actor,
    /// To what: a tool's name, a sandbox's id, a path.
    pub target: String,
    /// The request that it belongs to; empty where there is none.
    pub request_id: String,
}

impl Event {
    /// Something that this server does by itself.
    pub fn of_server(action: Action, target: impl Into<String>) -> Self {
        Self {
            action,
            actor: Actor::server(),
            target: target.into(),
            request_id: String::new(),
        }
    }
}

/// What else is worth knowing of an act.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Details {
    /// Nothing.
    None {},
    /// A stored entry as the act left it, or as it was removed.
    Stored {
        /// Its revision.
        revision: u64,
        /// Of its code, or of what stands there in its place.
        digest: CodeDigest,
    },
    /// What is about to be stored.
    Code {
        /// Of its code, or of what stands there in its place.
        digest: CodeDigest,
    },
    /// Code that is about to run.
    Run {
        /// The tool's revision, where the code is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// Of the code.
        digest: CodeDigest,
        /// The image asked for, where it is not the default one.
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// The packages it may import, such as `ms@^2.1.0, semver@7`.
        #[serde(skip_serializing_if = "String::is_empty")]
        dependencies: String,
    },
    /// A sandbox that was started.
    Sandbox {
        /// What it is really made of.
        image: UsedImage,
    },
    /// An execution that has ended.
    Ran {
        /// From the job's sending to its end.
        duration_ms: u64,
        /// `ok`, `input_required` where the caller was asked something first, or a failure kind's
        /// name.
        outcome: &'static str,
        /// What it really ran in.
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<UsedImage>,
    },
    /// An act that went wrong.
    Failed {
        /// A failure kind's name.
        outcome: &'static str,
    },
    /// An act that was not allowed.
    Refused {
        /// By what, in one word.
        reason: &'static str,
        /// When to try again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The program that began.
    Server {
        /// Its version.
        version: &'static str,
        /// MCP_PROFILE.
        profile: &'static str,
    },
    /// The engine that was chosen.
    Engine {
        /// Whether it can run code now.
        ready: bool,
        /// Its own words.
        detail: String,
    },
    /// The registry as it is now.
    Registry {
        /// Changes seen since the start.
        generation: u64,
        /// Tools in it.
        tools: usize,
        /// Prompts in it.
        prompts: usize,
        /// Resources and templates in it.
        resources: usize,
    },
    /// What a caller proved.
    Authenticated {
        /// The scopes of its token.
        scopes: Vec<String>,
    },
    /// Refusals that were counted and not written one by one.
    Folded {
        /// What they have in common.
        reason: &'static str,
        /// How many.
        folded: u64,
        /// The seconds that they came in.
        seconds: u64,
    },
}

impl Details {
    pub(super) fn into_map(self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("details are objects of plain values: {other:?}"),
        }
    }
}

/// SHA-256 of code, which stands for it in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeDigest(String);

impl CodeDigest {
    /// Of this code.
    pub fn of(code: &str) -> Self {
        Self(format!("sha256:{}", hex(&Sha256::digest(code.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract_and_unique() {
        let mut names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
        let check = |name, expected| assert_eq!(Action::of_tool(name), expected, "{name}");
        check("dynamic.tool.create", Some(Action::ToolCreate));
        check("dynamic.tool.enable", Some(Action::ToolEnable));
        check("dynamic.tool.list", None);
        check("run_js_ephemeral", Some(Action::RunJs));
        check("dynamic.exec", None);
    }

    #[test]
    fn details_in_json() {
        let check = |details: Details, expected: &str| {
            assert_eq!(Value::Object(details.into_map()).to_string(), expected);
        };
        check(Details::None {}, "{}");
        check(
            Details::Ran {
                duration_ms: 12,
                outcome: "ok",
                image: None,
            },
            r#"{"durationMs":12,"outcome":"ok"}"#,
        );
        check(
            Details::Ran {
                duration_ms: 12,
                outcome: "ok",
                image: Some(UsedImage {
                    name: "node:22".to_owned(),
                    id: "sha256:01".to_owned(),
                    digest: Some("sha256:02".to_owned()),
                }),
            },
            "{\"durationMs\":12,\"image\":{\"digest\":\"sha256:02\",\"id\":\"sha256:01\",\
             \"name\":\"node:22\"},\"outcome\":\"ok\"}",
        );
        let digest = CodeDigest::of("return 1");
        assert_eq!(digest.0.len(), "sha256:".len() + 64);
        check(
            Details::Run {
                revision: None,
                digest: CodeDigest("sha256:00".to_owned()),
                image: None,
                dependencies: "ms@^2".to_owned(),
            },
            r#"{"dependencies":"ms@^2","digest":"sha256:00"}"#,
        );
    }
}
