//! `dev.echo` and `time.now`: small things to try a connection with.

use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::json;

use super::{Access, BuiltIn, Draft, closed_object, read};
use crate::base::clock::{rfc3339, rfc3339_at, unix_millis};
use crate::base::time_zone::{FOLDER, MAX_NAME_BYTES, ZoneError, offset_of};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::tools::answer::ToolAnswer;
use crate::tools::called::Called;

const MAX_MESSAGE_CHARS: usize = 10_000;
const UTC: &str = "UTC";

pub(super) fn echo() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dev.echo",
        title: "Echo",
        description: "Gives the message back, with its length in characters.".to_owned(),
        input: closed_object(
            &["message"],
            json!({
                "message": { "type": "string", "maxLength": MAX_MESSAGE_CHARS },
                "uppercase": { "type": "boolean", "description": "In upper case." },
            }),
        ),
        output: Some(json!({
            "type": "object",
            "properties": {
                "message": { "type": "string" },
                "length": { "type": "integer", "minimum": 0 },
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Everybody(|_, _, arguments| Called::built_in(echoed(arguments))),
    })
}

fn echoed(arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    #[derive(Deserialize)]
    struct Input {
        message: String,
        #[serde(default)]
        uppercase: bool,
    }
    let input: Input = read(arguments)?;
    let message = match input.uppercase {
        true => input.message.to_uppercase(),
        false => input.message,
    };
    let length = message.chars().count();
    let value = json!({ "message": message, "length": length });
    Ok(ToolAnswer::value(JsonText::from_value(&value)))
}

pub(super) fn now() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "time.now",
        title: "Current time",
        description: "The current time in a time zone: as ISO 8601 text and as Unix seconds."
            .to_owned(),
        input: closed_object(
            &[],
            json!({
                "timeZone": {
                    "type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES,
                    "description": "IANA name such as Europe/Berlin; UTC where left out.",
                },
            }),
        ),
        output: Some(json!({
            "type": "object",
            "properties": {
                "iso": { "type": "string" },
                "unixSeconds": { "type": "integer" },
                "timeZone": { "type": "string" },
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Everybody(|_, _, arguments| Called::built_in(time(arguments))),
    })
}

fn time(arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        time_zone: Option<String>,
    }
    let input: Input = read(arguments)?;
    let zone = input.time_zone.as_deref().unwrap_or(UTC);
    let now = SystemTime::now();
    let seconds = unix_millis(now) / 1000;
    let at = i64::try_from(seconds).unwrap_or(i64::MAX);
    let offset = offset_of(Path::new(FOLDER), zone, at).map_err(|error| {
        let why = match error {
            ZoneError::NoDatabase => format!(
                "this server's machine has no time zones in {FOLDER}: only UTC is known here"
            ),
            ZoneError::Unknown => format!("{zone:?} is no IANA time zone that is known here"),
        };
        Failure::new(FailureKind::InvalidArguments, format!("$.timeZone: {why}"))
    })?;
    let iso = match zone {
        UTC => rfc3339(now),
        _ => rfc3339_at(now, offset),
    };
    let value = json!({ "iso": iso, "unixSeconds": seconds, "timeZone": zone });
    Ok(ToolAnswer::value(JsonText::from_value(&value)))
}
