//! `Mcp-Param-…`: arguments that a tool's author wants to be seen in headers (MCP 2026-07-28,
//! basic/transports). Whoever reads the header and whoever reads the body must see the same.

use serde_json::Value;

use super::classify::{decode_header, mismatch};
use super::jsonrpc::RpcError;
use crate::domain::json::JsonText;
use crate::schema::{ParamHeader, param_headers};

/// Compares the headers with the arguments; `given` are lower-case names without the prefix, and
/// their values.
pub(super) fn check(
    schema: &JsonText,
    arguments: &JsonText,
    given: &[(String, String)],
) -> Result<(), RpcError> {
    // Most schemas have none; whoever spells it with escapes has none either.
    if !schema.text().contains("x-mcp-header") {
        return Ok(());
    }
    // What cannot be read as values, the tool's own checks refuse.
    let (Ok(schema), Ok(arguments)) = (schema.value(), arguments.value()) else {
        return Ok(());
    };
    param_headers(&schema)
        .iter()
        .try_for_each(|header| compare(header, &arguments, given))
}

fn compare(
    property: &ParamHeader,
    arguments: &Value,
    given: &[(String, String)],
) -> Result<(), RpcError> {
    let fault = |what: &str| Err(mismatch(format!("Mcp-Param-{} {what}", property.name)));
    let mut values = given.iter().filter(|(name, _)| *name == property.name);
    let (value, another) = (values.next(), values.next());
    if another.is_some() {
        return fault("occurs twice");
    }
    let argument = property
        .path
        .iter()
        .try_fold(arguments, |value, name| value.get(name))
        .filter(|value| !value.is_null());
    match (argument, value) {
        (None, None) => Ok(()),
        (None, Some(_)) => fault("is given, but the argument is not"),
        (Some(_), None) => fault("is missing"),
        (Some(argument), Some((_, value))) => match decode_header(value) {
            None => fault("is no valid base64"),
            Some(value) if says(&value, argument) => Ok(()),
            Some(_) => fault("differs from the argument"),
        },
    }
}

/// Whether a header's text says the same as an argument. Arguments of another kind than annotated
/// are the tool's to refuse.
fn says(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(truth) => header == if *truth { "true" } else { "false" },
        Value::Number(number) => match serde_json::from_str::<Value>(header) {
            Ok(Value::Number(given)) => given == *number || given.as_f64() == number.as_f64(),
            _ => false,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "count":{"type":"integer","x-mcp-header":"Count"},
        "deep":{"type":"object","properties":{"on":{"type":"boolean","x-mcp-header":"On"}}},
        "list":{"type":"array","items":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}},
        "bad":{"type":"string","x-mcp-header":"no token"},
        "number":{"type":"number","x-mcp-header":"Number"}}}"#;

    fn check_all(arguments: &str, given: &[(&str, &str)], expected: Result<(), &str>) {
        let json = |text: &str| JsonText::parse(text.to_owned()).unwrap();
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let found = check(&json(SCHEMA), &json(arguments), &given);
        let found = found.map_err(|error| {
            assert_eq!(error.code, -32020);
            error.message
        });
        let found = found.as_ref().copied().map_err(String::as_str);
        assert_eq!(found, expected, "{arguments} {given:?}");
    }

    #[test]
    fn headers_say_what_the_arguments_say() {
        check_all("{}", &[], Ok(()));
        check_all(r#"{"region":"eu"}"#, &[("region", "eu")], Ok(()));
        check_all(
            r#"{"region":"eu"}"#,
            &[("region", "=?base64?ZXU=?=")],
            Ok(()),
        );
        check_all(r#"{"region":""}"#, &[("region", "")], Ok(()));
        check_all(r#"{"region":null}"#, &[], Ok(()));
        check_all(r#"{"count":42}"#, &[("count", "42.0")], Ok(()));
        check_all(r#"{"deep":{"on":true}}"#, &[("on", "true")], Ok(()));
        check_all(r#"{"list":[{"x":"a"}],"bad":"b","number":1}"#, &[], Ok(()));
        check_all("{}", &[("unknown", "x")], Ok(()));
        check_all(r#"{"region":["eu"]}"#, &[("region", "eu")], Ok(()));
    }

    #[test]
    fn headers_that_do_not() {
        let differs = Err("Mcp-Param-region differs from the argument");
        check_all(r#"{"region":"eu"}"#, &[("region", "EU")], differs);
        let region = r#"{"region":"eu"}"#;
        check_all(region, &[], Err("Mcp-Param-region is missing"));
        let base64 = Err("Mcp-Param-region is no valid base64");
        check_all(region, &[("region", "=?base64?ZXU?=")], base64);
        check_all(region, &[("region", "=?base64?Z!U=?=")], base64);
        let twice = Err("Mcp-Param-region occurs twice");
        check_all(region, &[("region", "eu"), ("region", "eu")], twice);
        let absent = Err("Mcp-Param-region is given, but the argument is not");
        check_all("{}", &[("region", "eu")], absent);
        check_all(r#"{"region":null}"#, &[("region", "")], absent);
        let count = Err("Mcp-Param-count differs from the argument");
        check_all(r#"{"count":42}"#, &[("count", "43")], count);
        check_all(r#"{"count":42}"#, &[("count", "forty-two")], count);
        let on = Err("Mcp-Param-on differs from the argument");
        check_all(r#"{"deep":{"on":true}}"#, &[("on", "True")], on);
    }
}
