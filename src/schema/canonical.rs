//! Equality of JSON values: one text for each class of equal values. Not a serialisation; nobody
//! reads it back.

use std::fmt::Write as _;

use serde_json::Value;

use super::number::Decimal;
use super::validate::{Budget, TooComplex};

/// Deepest value that is compared; the JSON reader stops there anyway.
const MAX_DEPTH: usize = 128;

/// A text that two values share exactly when they are equal: objects without order, numbers by
/// value.
pub(super) fn canonical(value: &Value, budget: &mut Budget) -> Result<String, TooComplex> {
    let mut out = String::new();
    write(value, 0, &mut out, budget)?;
    Ok(out)
}

fn write(
    value: &Value,
    depth: usize,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), TooComplex> {
    if depth > MAX_DEPTH {
        return Err(TooComplex);
    }
    budget.spend(1)?;
    match value {
        Value::Null => out.push('n'),
        Value::Bool(truth) => out.push(if *truth { 't' } else { 'f' }),
        Value::Number(number) => {
            let _ = write!(out, "#{}", Decimal::of(number));
        }
        Value::String(text) => write_text(text, out, budget)?,
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write(item, depth + 1, out, budget)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, item) in entries {
                write_text(name, out, budget)?;
                write(item, depth + 1, out, budget)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// With its length in front, so that no text can look like structure.
fn write_text(text: &str, out: &mut String, budget: &mut Budget) -> Result<(), TooComplex> {
    budget.spend_on_bytes(text.len())?;
    let _ = write!(out, "\"{}:{text}", text.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_text_for_equal_values_only() {
        let classes = [
            vec![json!(1), json!(1.0)],
            vec![json!("1")],
            vec![json!(true)],
            vec![json!([1, 2]), json!([1.0, 2.0])],
            vec![json!([[1], 2])],
            vec![json!([[1, 2]])],
            vec![json!({"a": 1, "b": 2}), json!({"b": 2.0, "a": 1})],
            vec![json!({"a": {"b": 2}})],
            vec![json!(["\"1:a"])],
            vec![json!(["a"])],
            vec![json!(["a", "b"])],
            vec![json!(["a\"1:b"])],
            vec![json!(0), json!(-0.0)],
            vec![json!(false)],
            vec![json!(null)],
        ];
        let text = |value: &Value| canonical(value, &mut Budget::default()).unwrap();
        for (index, class) in classes.iter().enumerate() {
            for (other, rival) in classes.iter().enumerate() {
                for left in class {
                    for right in rival {
                        assert_eq!(text(left) == text(right), index == other, "{left} {right}");
                    }
                }
            }
        }
    }
}
