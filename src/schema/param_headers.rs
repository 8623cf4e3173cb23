//! `x-mcp-header`: which arguments of a tool its author wants to be seen in headers
//! `Mcp-Param-…` (MCP 2026-07-28, basic/transports). What the headers say never stands here.

use serde_json::Value;

use super::compile::push_token;

/// The annotation.
pub(super) const ANNOTATION: &str = "x-mcp-header";
/// Most annotated properties of one schema.
const MAX_HEADERS: usize = 64;

/// A property that a header is to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    /// The header's name behind `Mcp-Param-`, in lower case.
    pub name: String,
    /// From the arguments to the property, by names.
    pub path: Vec<String>,
}

/// An annotation as it was read, or why it is wrong.
type Reading = Result<ParamHeader, &'static str>;

/// The annotated properties of an input schema. Wrong annotations, as an old store may have them,
/// are left out, as clients do.
pub fn param_headers(schema: &Value) -> Vec<ParamHeader> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut |_, header| {
        found.extend(header.ok().filter(|_| found.len() < MAX_HEADERS));
    });
    found
}

/// What is wrong with an annotation: its place and why clients would drop the tool for it.
pub(super) fn fault(schema: &Value) -> Option<(String, String)> {
    let (mut names, mut fault) = (Vec::new(), None);
    collect(schema, &mut Vec::new(), &mut |path, header| {
        let reason = match header {
            Err(reason) => reason.to_owned(),
            Ok(header) if names.contains(&header.name) => {
                "another property has the same header".to_owned()
            }
            Ok(_) if names.len() >= MAX_HEADERS => {
                format!("more than {MAX_HEADERS} properties have headers")
            }
            Ok(header) => return names.push(header.name),
        };
        let mut pointer = String::new();
        for name in path {
            pointer.push_str("/properties");
            push_token(&mut pointer, name);
        }
        push_token(&mut pointer, ANNOTATION);
        fault.get_or_insert((pointer, reason));
    });
    fault
}

/// Shows every annotation that is reached through `properties` alone; others mean nothing.
fn collect<'a>(schema: &'a Value, path: &mut Vec<&'a str>, show: &mut dyn FnMut(&[&str], Reading)) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        path.push(name);
        if let Some(annotation) = property.get(ANNOTATION) {
            show(path, read(annotation, property, path));
        }
        collect(property, path, show);
        path.pop();
    }
}

fn read(annotation: &Value, property: &Value, path: &[&str]) -> Reading {
    let name = annotation.as_str().filter(|name| is_token(name));
    let name = name.ok_or("a header's name has letters, digits and any of !#$%&'*+-.^_`|~")?;
    match property.get("type").and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => Ok(ParamHeader {
            name: name.to_ascii_lowercase(),
            path: path.iter().map(|&name| name.to_owned()).collect(),
        }),
        _ => Err("only a string, an integer or a boolean fits into a header"),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_reached_through_properties_alone() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"on": {"type": "boolean", "x-mcp-header": "On"}}},
            "list": {"items": {"properties": {"x": {"type": "string", "x-mcp-header": "?"}}}},
            "bad": {"type": "number", "x-mcp-header": "Bad"}}});
        let header = |name: &str, path: &[&str]| ParamHeader {
            name: name.to_owned(),
            path: path.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut found = param_headers(&schema);
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let expected = [header("on", &["deep", "on"]), header("region", &["region"])];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_clients_would_drop_a_tool_for() {
        let check = |property: Value, expected: Option<&str>| {
            let schema = json!({"properties": {"a/b": property, "other":
                {"type": "string", "x-mcp-header": "Other"}}});
            let found = fault(&schema).map(|(pointer, reason)| format!("{pointer}: {reason}"));
            assert_eq!(found.as_deref(), expected, "{schema}");
        };
        check(json!({"type": "integer", "x-mcp-header": "A.b-9"}), None);
        check(json!({"type": "array"}), None);
        let name = "/properties/a~1b/x-mcp-header: \
                    a header's name has letters, digits and any of !#$%&'*+-.^_`|~";
        for wrong in [
            json!(""),
            json!("a b"),
            json!("ä"),
            json!("a:"),
            json!(5),
            json!(null),
        ] {
            check(json!({"type": "string", "x-mcp-header": wrong}), Some(name));
        }
        let kind = "/properties/a~1b/x-mcp-header: \
                    only a string, an integer or a boolean fits into a header";
        check(json!({"type": "number", "x-mcp-header": "A"}), Some(kind));
        check(json!({"x-mcp-header": "A"}), Some(kind));
        let twice = "/properties/other/x-mcp-header: another property has the same header";
        check(
            json!({"type": "string", "x-mcp-header": "OTHER"}),
            Some(twice),
        );
        let within = json!({"properties": {"in": {"type": "object", "x-mcp-header": "In"}}});
        let place = "/properties/a~1b/properties/in/x-mcp-header: \
                     only a string, an integer or a boolean fits into a header";
        check(within, Some(place));
    }
}
