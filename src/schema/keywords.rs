//! Reading the keywords of one schema object: what their values must be, and what they become. No
//! references here.

use serde_json::{Map, Value};

use super::canonical::canonical;
use super::compile::{Compiler, Site};
use super::error::{SchemaError, SchemaFault};
use super::finding::{excerpt, excerpt_of, listing};
use super::node::{Comparison, Counted, Keyword, Limit, NodeId, TypeSet};
use super::number::Decimal;
use super::pattern::Pattern;
use super::validate::Budget;

/// Most patterns of a document.
const MAX_PATTERNS: usize = 100;
/// Memory that all patterns of a document may take, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// How much of a `not` schema is shown, in bytes.
const NOT_BYTES: usize = 100;

impl<'a> Compiler<'a> {
    /// All keywords of `site`, in the order in which they are checked.
    pub(super) fn keywords(&mut self, site: Site<'a>) -> Result<Vec<Keyword>, SchemaError> {
        let mut keywords = Vec::new();
        self.general(site, &mut keywords)?;
        self.numbers(site, &mut keywords)?;
        self.sizes(site, &mut keywords)?;
        self.objects(site, &mut keywords)?;
        self.arrays(site, &mut keywords)?;
        self.combinations(site, &mut keywords)?;
        Ok(keywords)
    }

    fn general(&self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        if let Some(value) = site.map.get("type") {
            let mut types = TypeSet::default();
            let known = match value {
                Value::String(name) => types.add(name),
                Value::Array(names) if !names.is_empty() => names
                    .iter()
                    .all(|name| name.as_str().is_some_and(|name| types.add(name))),
                _ => false,
            };
            if !known {
                let reason = "must be null, boolean, object, array, number, string or integer, \
                              or a list of different ones";
                return Err(self.invalid(site.value, Some("type"), reason));
            }
            out.push(Keyword::Type(types));
        }
        if let Some(values) = self.array_of(site, "enum")? {
            let rule = format!("must be one of {}", listing(values.iter().map(excerpt)));
            out.push(self.values(site, "enum", values, rule)?);
        }
        if let Some(value) = site.map.get("const") {
            let rule = format!("must be {}", excerpt(value));
            out.push(self.values(site, "const", std::slice::from_ref(value), rule)?);
        }
        Ok(())
    }

    fn values(
        &self,
        site: Site<'a>,
        key: &str,
        values: &[Value],
        rule: String,
    ) -> Result<Keyword, SchemaError> {
        let mut budget = Budget::default();
        let texts = values.iter().map(|value| canonical(value, &mut budget));
        let texts = texts.collect::<Result<_, _>>().map_err(|_| {
            let fault = SchemaFault::TooLarge(format!("\"{key}\" is too large"));
            self.error(site.value, Some(key), fault)
        })?;
        Ok(Keyword::Values { texts, rule })
    }

    fn numbers(&self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        for (key, comparison) in [
            ("minimum", Comparison::AtLeast),
            ("exclusiveMinimum", Comparison::Above),
            ("maximum", Comparison::AtMost),
            ("exclusiveMaximum", Comparison::Below),
        ] {
            if let Some((bound, text)) = self.number_of(site, key)? {
                out.push(Keyword::Bound(comparison, bound, text));
            }
        }
        if let Some((divisor, text)) = self.number_of(site, "multipleOf")? {
            if !divisor.is_positive() {
                return Err(self.invalid(site.value, Some("multipleOf"), "must be above 0"));
            }
            out.push(Keyword::MultipleOf(divisor, text));
        }
        Ok(())
    }

    fn sizes(&mut self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        for (key, counted, limit) in [
            ("minLength", Counted::Characters, Limit::AtLeast),
            ("maxLength", Counted::Characters, Limit::AtMost),
            ("minItems", Counted::Items, Limit::AtLeast),
            ("maxItems", Counted::Items, Limit::AtMost),
            ("minProperties", Counted::Properties, Limit::AtLeast),
            ("maxProperties", Counted::Properties, Limit::AtMost),
        ] {
            if let Some(bound) = self.count_of(site, key)? {
                out.push(Keyword::Size(counted, limit, bound));
            }
        }
        if let Some(value) = site.map.get("pattern") {
            let Some(source) = value.as_str() else {
                return Err(self.invalid(site.value, Some("pattern"), "must be a string"));
            };
            let pattern = self.pattern(site.value, "pattern", source)?;
            out.push(Keyword::Pattern(pattern));
        }
        Ok(())
    }

    fn objects(&mut self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        if let Some(value) = site.map.get("required") {
            out.push(Keyword::Required(self.names(site, "required", value)?));
        }
        if let Some(map) = self.object_of(site, "dependentRequired")? {
            let names = |(name, value): (&String, &Value)| {
                self.names(site, "dependentRequired", value)
                    .map(|needed| (name.clone(), needed))
            };
            let dependents = map.iter().map(names).collect::<Result<_, _>>()?;
            out.push(Keyword::DependentRequired(dependents));
        }
        let named = self.named_subschemas(site, "properties")?;
        let mut patterns = Vec::new();
        for (source, id) in self.named_subschemas(site, "patternProperties")? {
            patterns.push((self.pattern(site.value, "patternProperties", &source)?, id));
        }
        let rest = self.optional_subschema(site, "additionalProperties")?;
        if !named.is_empty() || !patterns.is_empty() || rest.is_some() {
            out.push(Keyword::Properties {
                named: named.into_iter().collect(),
                patterns,
                rest,
            });
        }
        if let Some(id) = self.optional_subschema(site, "propertyNames")? {
            out.push(Keyword::PropertyNames(id));
        }
        let dependents = self.named_subschemas(site, "dependentSchemas")?;
        if !dependents.is_empty() {
            out.push(Keyword::DependentSchemas(dependents));
        }
        Ok(())
    }

    fn arrays(&mut self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        if site.map.get("items").is_some_and(Value::is_array) {
            let reason = "must be one schema: use \"prefixItems\" for a list of them";
            return Err(self.invalid(site.value, Some("items"), reason));
        }
        let prefix = self.subschemas(site, "prefixItems")?.unwrap_or_default();
        let rest = self.optional_subschema(site, "items")?;
        if !prefix.is_empty() || rest.is_some() {
            out.push(Keyword::Items { prefix, rest });
        }
        let min = self.count_of(site, "minContains")?.unwrap_or(1);
        let max = self.count_of(site, "maxContains")?.unwrap_or(u64::MAX);
        if let Some(node) = self.optional_subschema(site, "contains")? {
            out.push(Keyword::Contains { node, min, max });
        }
        match site.map.get("uniqueItems") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => out.push(Keyword::UniqueItems),
            Some(_) => {
                return Err(self.invalid(site.value, Some("uniqueItems"), "must be a boolean"));
            }
        }
        Ok(())
    }

    fn combinations(&mut self, site: Site<'a>, out: &mut Vec<Keyword>) -> Result<(), SchemaError> {
        for key in ["allOf", "anyOf", "oneOf"] {
            if let Some(list) = self.subschemas(site, key)? {
                if list.is_empty() {
                    return Err(self.invalid(site.value, Some(key), "must not be empty"));
                }
                out.push(match key {
                    "allOf" => Keyword::All(list),
                    "anyOf" => Keyword::Any(list),
                    _ => Keyword::One(list),
                });
            }
        }
        if let Some(id) = self.optional_subschema(site, "not")? {
            let text = site
                .map
                .get("not")
                .map(|value| excerpt_of(value, NOT_BYTES));
            out.push(Keyword::Not(id, text.unwrap_or_default()));
        }
        let condition = self.optional_subschema(site, "if")?;
        let then = self.optional_subschema(site, "then")?;
        let otherwise = self.optional_subschema(site, "else")?;
        if let Some(condition) = condition
            && (then.is_some() || otherwise.is_some())
        {
            out.push(Keyword::If {
                condition,
                then,
                otherwise,
            });
        }
        Ok(())
    }

    fn pattern(&mut self, schema: &Value, key: &str, source: &str) -> Result<Pattern, SchemaError> {
        let pattern =
            Pattern::compile(source).map_err(|fault| self.error(schema, Some(key), fault))?;
        self.pattern_count += 1;
        self.pattern_bytes += pattern.weight();
        if self.pattern_count > MAX_PATTERNS || self.pattern_bytes > MAX_PATTERN_BYTES {
            let reason =
                format!("a schema must have at most {MAX_PATTERNS} patterns, and small ones");
            return Err(self.error(schema, Some(key), SchemaFault::TooLarge(reason)));
        }
        Ok(pattern)
    }

    /// An object's value of `key`, which must be an object.
    pub(super) fn object_of(
        &self,
        site: Site<'a>,
        key: &str,
    ) -> Result<Option<&'a Map<String, Value>>, SchemaError> {
        let wrong = || self.invalid(site.value, Some(key), "must be an object");
        site.map
            .get(key)
            .map(|value| value.as_object().ok_or_else(wrong))
            .transpose()
    }

    fn array_of(&self, site: Site<'a>, key: &str) -> Result<Option<&'a [Value]>, SchemaError> {
        let wrong = || self.invalid(site.value, Some(key), "must be an array");
        site.map
            .get(key)
            .map(|value| value.as_array().map(Vec::as_slice).ok_or_else(wrong))
            .transpose()
    }

    fn number_of(
        &self,
        site: Site<'a>,
        key: &str,
    ) -> Result<Option<(Decimal, String)>, SchemaError> {
        match site.map.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some((Decimal::of(number), number.to_string()))),
            Some(_) => Err(self.invalid(site.value, Some(key), "must be a number")),
        }
    }

    fn count_of(&self, site: Site<'a>, key: &str) -> Result<Option<u64>, SchemaError> {
        let wrong = || self.invalid(site.value, Some(key), "must be a whole number, not below 0");
        match site.map.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Decimal::of(number).count().map(Some).ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }

    fn names(&self, site: Site<'a>, key: &str, value: &Value) -> Result<Vec<String>, SchemaError> {
        let wrong = || self.invalid(site.value, Some(key), "must list different property names");
        let list = value.as_array().ok_or_else(wrong)?;
        let mut names = Vec::with_capacity(list.len());
        for name in list {
            names.push(name.as_str().ok_or_else(wrong)?.to_owned());
        }
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        if distinct.len() != names.len() {
            return Err(wrong());
        }
        Ok(names)
    }

    fn optional_subschema(
        &mut self,
        site: Site<'a>,
        key: &str,
    ) -> Result<Option<NodeId>, SchemaError> {
        site.map
            .get(key)
            .map(|schema| self.subschema(schema, site.depth + 1))
            .transpose()
    }

    fn subschemas(
        &mut self,
        site: Site<'a>,
        key: &str,
    ) -> Result<Option<Vec<NodeId>>, SchemaError> {
        let Some(list) = self.array_of(site, key)? else {
            return Ok(None);
        };
        list.iter()
            .map(|schema| self.subschema(schema, site.depth + 1))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn named_subschemas(
        &mut self,
        site: Site<'a>,
        key: &str,
    ) -> Result<Vec<(String, NodeId)>, SchemaError> {
        let Some(map) = self.object_of(site, key)? else {
            return Ok(Vec::new());
        };
        map.iter()
            .map(|(name, schema)| Ok((name.clone(), self.subschema(schema, site.depth + 1)?)))
            .collect()
    }
}
