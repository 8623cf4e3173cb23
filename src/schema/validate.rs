//! Walking a value and a compiled schema together, under a budget of steps. The first walk only
//! decides; a second one, where the value does not fit, collects what to say.

use serde_json::Value;

use super::canonical::canonical;
use super::error::Violations;
use super::finding::{Finding, Path, no_alternative, quoted};
use super::node::{Comparison, Counted, Keyword, Limit, Node, NodeId, got};
use super::number::Decimal;
use super::pattern::Pattern;

/// Steps that one walk may take; some tenths of a second at the very worst.
const MAX_STEPS: usize = 1_000_000;
/// Bytes of text that are looked at in one step.
const BYTES_PER_STEP: usize = 64;
/// Steps that it takes to word a finding.
const FINDING_STEPS: usize = 50;
/// Deepest nesting of checks within each other, to bound the stack.
const MAX_NESTING: usize = 512;
/// Most alternatives whose findings are kept to choose the nearest from.
const MAX_COMPARED: usize = 16;

/// The check would take more than its budget: neither fits nor does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooComplex;

/// Whether a value fits.
pub(super) type Verdict = Result<bool, TooComplex>;

/// Steps that are left.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_STEPS)
    }
}

impl Budget {
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooComplex> {
        self.0 = self.0.checked_sub(steps).ok_or(TooComplex)?;
        Ok(())
    }

    pub(super) fn spend_on_bytes(&mut self, bytes: usize) -> Result<(), TooComplex> {
        self.spend(bytes / BYTES_PER_STEP)
    }
}

/// Checks `instance` against the schema whose root is the first node.
pub(super) fn validate(nodes: &[Node], instance: &Value) -> Result<(), Violations> {
    let at = At {
        value: instance,
        path: &Path::Root,
    };
    match Walk::new(nodes, false).check(NodeId::ROOT, at) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(TooComplex) => return Err(Violations::whole("is too complex to check")),
    }
    let mut walk = Walk::new(nodes, true);
    if walk.check(NodeId::ROOT, at).is_err() {
        let reason = "must fit its schema, but it is too complex to say where it does not";
        return Err(Violations::whole(reason));
    }
    let violations = walk.findings.into_iter().map(Finding::into_violation);
    Err(Violations::new(violations.collect()))
}

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) value: &'a Value,
    pub(super) path: &'a Path<'a>,
}

/// One walk through a value.
pub(super) struct Walk<'s> {
    pub(super) nodes: &'s [Node],
    pub(super) budget: Budget,
    nesting: usize,
    /// Whether findings are wanted at all.
    is_collecting: bool,
    /// Above zero within `not`, `if` and the like, where not to fit is nothing to report.
    muted: usize,
    findings: Vec<Finding>,
    /// Findings before it belong to other alternatives.
    floor: usize,
}

impl<'s> Walk<'s> {
    fn new(nodes: &'s [Node], is_collecting: bool) -> Self {
        Self {
            nodes,
            budget: Budget::default(),
            nesting: 0,
            is_collecting,
            muted: 0,
            findings: Vec::new(),
            floor: 0,
        }
    }

    pub(super) fn is_loud(&self) -> bool {
        let has_room = self.findings.len() < self.floor + Violations::MAX;
        self.is_collecting && self.muted == 0 && has_room
    }

    /// Notes that the value does not fit, in words where they are wanted.
    pub(super) fn miss(&mut self, at: At<'_>, finding: impl FnOnce(String) -> Finding) -> Verdict {
        if self.is_loud() {
            self.budget.spend(FINDING_STEPS)?;
            let finding = finding(at.path.text());
            let is_new = self
                .findings
                .get(self.floor..)
                .is_none_or(|known| !known.contains(&finding));
            if is_new {
                self.findings.push(finding);
            }
        }
        Ok(false)
    }

    pub(super) fn check(&mut self, id: NodeId, at: At<'_>) -> Verdict {
        self.budget.spend(1)?;
        let node = self.nodes.get(id.0).ok_or(TooComplex)?;
        if node.never {
            return self.miss(at, |path| {
                Finding::new(path, "must not be present".to_owned())
            });
        }
        if self.nesting == MAX_NESTING {
            return Err(TooComplex);
        }
        self.nesting += 1;
        let mut fits = match node.reference {
            Some(target) => self.check(target, at)?,
            None => true,
        };
        for keyword in &node.keywords {
            if !fits && !self.is_loud() {
                break;
            }
            self.budget.spend(1)?;
            if !self.keyword(keyword, at)? {
                fits = false;
                if matches!(keyword, Keyword::Type(_)) {
                    break;
                }
            }
        }
        self.nesting -= 1;
        Ok(fits)
    }

    /// As [`Walk::check`], without a word.
    pub(super) fn check_quietly(&mut self, id: NodeId, at: At<'_>) -> Verdict {
        self.muted += 1;
        let verdict = self.check(id, at);
        self.muted -= 1;
        verdict
    }

    fn keyword(&mut self, keyword: &Keyword, at: At<'_>) -> Verdict {
        match (keyword, at.value) {
            (Keyword::Type(types), value) => {
                if types.has(value) {
                    return Ok(true);
                }
                self.miss(at, |path| Finding {
                    wrong_type: true,
                    ..Finding::new(path, format!("must be {}", types.text())).but_got(got(value))
                })
            }
            (Keyword::Values { texts, rule }, value) => {
                if texts.contains(&canonical(value, &mut self.budget)?) {
                    return Ok(true);
                }
                self.miss(at, |path| Finding::new(path, rule.clone()))
            }
            (Keyword::All(list), _) => self.each(list.iter().map(|id| (*id, at))),
            (Keyword::Any(list), _) => self.any(list, at),
            (Keyword::One(list), _) => self.one(list, at),
            (Keyword::Not(id, text), _) => {
                if !self.check_quietly(*id, at)? {
                    return Ok(true);
                }
                self.miss(at, |path| {
                    Finding::new(path, format!("must not fit {text}"))
                })
            }
            (
                Keyword::If {
                    condition,
                    then,
                    otherwise,
                },
                _,
            ) => {
                let branch = if self.check_quietly(*condition, at)? {
                    then
                } else {
                    otherwise
                };
                branch.map_or(Ok(true), |id| self.check(id, at))
            }
            (keyword, Value::Number(number)) => self.number(keyword, Decimal::of(number), at),
            (keyword, Value::String(text)) => self.string(keyword, text, at),
            (keyword, Value::Array(items)) => self.array(keyword, items, at),
            (keyword, Value::Object(map)) => self.object(keyword, map, at),
            _ => Ok(true),
        }
    }

    fn number(&mut self, keyword: &Keyword, number: Decimal, at: At<'_>) -> Verdict {
        let (fits, words, text) = match keyword {
            Keyword::Bound(comparison, bound, text) => match comparison {
                Comparison::AtLeast => (number >= *bound, "at least", text),
                Comparison::Above => (number > *bound, "above", text),
                Comparison::AtMost => (number <= *bound, "at most", text),
                Comparison::Below => (number < *bound, "below", text),
            },
            Keyword::MultipleOf(unit, text) => {
                // At most 632 rounds of one multiplication each.
                self.budget.spend(5)?;
                (number.is_multiple_of(*unit), "a multiple of", text)
            }
            _ => return Ok(true),
        };
        if fits {
            return Ok(true);
        }
        self.miss(at, |path| {
            Finding::new(path, format!("must be {words} {text}")).but_got(got(at.value))
        })
    }

    fn string(&mut self, keyword: &Keyword, text: &str, at: At<'_>) -> Verdict {
        match keyword {
            Keyword::Size(Counted::Characters, limit, bound) => {
                self.budget.spend_on_bytes(text.len())?;
                self.size(text.chars().count(), "character", *limit, *bound, at)
            }
            Keyword::Pattern(pattern) => {
                if self.is_in(pattern, text)? {
                    return Ok(true);
                }
                let source = pattern.source();
                self.miss(at, |path| {
                    Finding::new(path, format!("must match the pattern {}", quoted(source)))
                })
            }
            _ => Ok(true),
        }
    }

    pub(super) fn is_in(&mut self, pattern: &Pattern, text: &str) -> Verdict {
        self.budget.spend(1 + pattern.cost(text))?;
        Ok(pattern.is_in(text))
    }

    pub(super) fn size(
        &mut self,
        count: usize,
        noun: &str,
        limit: Limit,
        bound: u64,
        at: At<'_>,
    ) -> Verdict {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let (fits, words) = match limit {
            Limit::AtLeast => (count >= bound, "at least"),
            Limit::AtMost => (count <= bound, "at most"),
        };
        if fits {
            return Ok(true);
        }
        let noun = match (noun, bound) {
            (_, 1) => noun.to_owned(),
            ("property", _) => "properties".to_owned(),
            _ => format!("{noun}s"),
        };
        self.miss(at, |path| {
            let rule = format!("must have {words} {bound} {noun}");
            Finding::new(path, rule).but_got(count.to_string())
        })
    }

    /// All of them must fit.
    pub(super) fn each<'a>(&mut self, checks: impl Iterator<Item = (NodeId, At<'a>)>) -> Verdict {
        let mut fits = true;
        for (id, at) in checks {
            fits &= self.check(id, at)?;
            if !fits && !self.is_loud() {
                break;
            }
        }
        Ok(fits)
    }

    /// Checks one alternative on its own: `None` where it fits, else what was found.
    pub(super) fn branch(
        &mut self,
        id: NodeId,
        at: At<'_>,
    ) -> Result<Option<Vec<Finding>>, TooComplex> {
        let floor = std::mem::replace(&mut self.floor, self.findings.len());
        let fits = self.check(id, at)?;
        let findings = self.findings.split_off(self.floor);
        self.floor = floor;
        Ok((!fits).then_some(findings))
    }

    fn any(&mut self, list: &[NodeId], at: At<'_>) -> Verdict {
        let mut branches = Vec::new();
        for id in list {
            match self.alternative(*id, at, branches.len())? {
                None => return Ok(true),
                Some(findings) => branches.push(findings),
            }
        }
        self.no_alternative(branches, at)
    }

    fn one(&mut self, list: &[NodeId], at: At<'_>) -> Verdict {
        let mut branches = Vec::new();
        let mut first = None;
        for (index, id) in list.iter().enumerate() {
            match (self.alternative(*id, at, branches.len())?, first) {
                (None, None) => first = Some(index + 1),
                (None, Some(first)) => {
                    let count = list.len();
                    let second = index + 1;
                    return self.miss(at, |path| {
                        let fitting = format!("numbers {first} and {second}");
                        let rule = format!(
                            "must fit exactly one of {count} alternatives, but fits {fitting}"
                        );
                        Finding::new(path, rule)
                    });
                }
                (Some(findings), _) => branches.push(findings),
            }
        }
        match first {
            Some(_) => Ok(true),
            None => self.no_alternative(branches, at),
        }
    }

    /// As [`Walk::branch`]; the findings of alternatives beyond the first few are not kept.
    fn alternative(
        &mut self,
        id: NodeId,
        at: At<'_>,
        kept: usize,
    ) -> Result<Option<Vec<Finding>>, TooComplex> {
        if kept < MAX_COMPARED {
            return self.branch(id, at);
        }
        Ok((!self.check_quietly(id, at)?).then(Vec::new))
    }

    fn no_alternative(&mut self, mut branches: Vec<Vec<Finding>>, at: At<'_>) -> Verdict {
        branches.truncate(MAX_COMPARED);
        self.miss(at, |path| no_alternative(path, &branches))
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::Schema;
    use serde_json::{Value, json};

    fn texts(schema: &Value, instance: &Value) -> Vec<String> {
        let schema = Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        match schema.validate(instance) {
            Ok(()) => Vec::new(),
            Err(violations) => violations.list().iter().map(ToString::to_string).collect(),
        }
    }

    fn check(schema: &Value, instance: &Value, expected: &[&str]) {
        assert_eq!(texts(schema, instance), expected, "{schema} {instance}");
    }

    #[test]
    fn messages_for_values() {
        for (schema, instance, expected) in [
            (
                json!({"type": "number"}),
                json!("5"),
                "$ must be a number, got string",
            ),
            (
                json!({"type": "integer"}),
                json!(1.5),
                "$ must be an integer, got 1.5",
            ),
            (
                json!({"type": ["null", "string"]}),
                json!(1),
                "$ must be a string or null, got 1",
            ),
            (
                json!({"enum": ["c", "f", 1]}),
                json!("k"),
                "$ must be one of \"c\", \"f\", 1",
            ),
            (json!({"const": {"a": 1}}), json!({}), "$ must be {\"a\":1}"),
            (
                json!({"minimum": 3}),
                json!(2),
                "$ must be at least 3, got 2",
            ),
            (
                json!({"exclusiveMinimum": 3}),
                json!(3),
                "$ must be above 3, got 3",
            ),
            (
                json!({"maximum": 1.5}),
                json!(2),
                "$ must be at most 1.5, got 2",
            ),
            (
                json!({"exclusiveMaximum": 3}),
                json!(3.0),
                "$ must be below 3, got 3.0",
            ),
            (
                json!({"multipleOf": 0.01}),
                json!(0.005),
                "$ must be a multiple of 0.01, got 0.005",
            ),
            (
                json!({"minLength": 2}),
                json!("😀"),
                "$ must have at least 2 characters, got 1",
            ),
            (
                json!({"maxLength": 1}),
                json!("ab"),
                "$ must have at most 1 character, got 2",
            ),
            (
                json!({"pattern": "^a"}),
                json!("ba"),
                "$ must match the pattern \"^a\"",
            ),
            (
                json!({"not": {"type": "null"}}),
                json!(null),
                "$ must not fit {\"type\":\"null\"}",
            ),
            (json!(false), json!(1), "$ must not be present"),
        ] {
            check(&schema, &instance, &[expected]);
        }
    }

    #[test]
    fn messages_for_arrays() {
        for (schema, instance, expected) in [
            (
                json!({"minItems": 2}),
                json!([1]),
                "$ must have at least 2 items, got 1",
            ),
            (
                json!({"maxItems": 0}),
                json!([1]),
                "$ must have at most 0 items, got 1",
            ),
            (
                json!({"uniqueItems": true}),
                json!([1, {"a": 1}, 2, {"a": 1.0}]),
                "$ must not have equal items, as [1] and [3] are",
            ),
            (
                json!({"prefixItems": [true], "items": {"properties": {"price": {"type": "number"}}}}),
                json!(["x", {"price": 1}, {"price": "2"}]),
                "$[2].price must be a number, got string",
            ),
            (
                json!({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}),
                json!([1, 2]),
                "$ must have at least 2 of the items that \"contains\" describes, got 1",
            ),
            (
                json!({"contains": {"const": 1}, "maxContains": 1}),
                json!([1, 1, 1]),
                "$ must have at most 1 of the items that \"contains\" describes, got more",
            ),
        ] {
            check(&schema, &instance, &[expected]);
        }
    }

    #[test]
    fn messages_for_objects() {
        for (schema, instance, expected) in [
            (
                json!({"required": ["city", "unit"]}),
                json!({}),
                &[
                    "$ must have property \"city\"",
                    "$ must have property \"unit\"",
                ][..],
            ),
            (
                json!({"properties": {"city": {}, "unit": {}}, "additionalProperties": false}),
                json!({"cty": 1}),
                &["$ must not have property \"cty\" (it may have \"city\", \"unit\")"],
            ),
            (
                json!({"patternProperties": {"^n": {"type": "null"}}, "additionalProperties": {"type": "string"}}),
                json!({"n1": 1, "a b": 2}),
                &[
                    "$[\"a b\"] must be a string, got 2",
                    "$.n1 must be null, got 1",
                ],
            ),
            (
                json!({"propertyNames": {"maxLength": 2}}),
                json!({"abc": 1}),
                &[
                    "$ must not have a property named \"abc\": a name must have at most 2 characters",
                ],
            ),
            (
                json!({"dependentRequired": {"a": ["b"]}}),
                json!({"a": 1}),
                &["$ must have property \"b\" when it has \"a\""],
            ),
            (
                json!({"dependentSchemas": {"a": {"maxProperties": 1}}}),
                json!({"a": 1, "b": 2}),
                &["$ must have at most 1 property, got 2"],
            ),
            (
                json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": false}),
                json!({"a": 1}),
                &["$ must have property \"b\""],
            ),
        ] {
            check(&schema, &instance, expected);
        }
    }

    #[test]
    fn messages_for_alternatives() {
        let shape = json!({"oneOf": [
            {"type": "string"},
            {"properties": {"kind": {"const": "a"}, "x": {"type": "number"}}, "required": ["kind", "x"], "type": "object"},
            {"properties": {"kind": {"const": "b"}, "y": {"type": "number"}}, "required": ["kind", "y"], "type": "object"},
        ]});
        for (schema, instance, expected) in [
            (
                json!({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}),
                json!({"a": 1}),
                "$.a must be a string or null, got 1",
            ),
            (
                json!({"oneOf": [{"const": "c", "title": "Celsius"}, {"const": "f"}]}),
                json!("k"),
                "$ must be \"c\" or \"f\"",
            ),
            (
                json!({"anyOf": [{"minLength": 5}, {"enum": ["a", "b"]}]}),
                json!("xx"),
                "$ must have at least 5 characters or must be one of \"a\", \"b\", got 2",
            ),
            (
                shape,
                json!({"kind": "b", "y": "1"}),
                "$ must fit one of 3 alternatives; nearest is number 3: $.y must be a number, got string",
            ),
            (
                json!({"oneOf": [{"minimum": 1}, false, {"maximum": 3}]}),
                json!(2),
                "$ must fit exactly one of 3 alternatives, but fits numbers 1 and 3",
            ),
        ] {
            check(&schema, &instance, &[expected]);
        }
    }

    #[test]
    fn at_most_ten_violations_each_once_and_clipped() {
        let schema = json!({"items": {"type": "null"}});
        assert_eq!(texts(&schema, &json!(vec![1; 50])).len(), 10);
        let twice = json!({"allOf": [{"type": "null"}, {"type": "null"}]});
        assert_eq!(texts(&twice, &json!(1)).len(), 1);
        let long = "x".repeat(100_000);
        let all = json!({
            "additionalProperties": false, "required": [long], "enum": [long, {"a": long}],
            "not": {"title": long}, "propertyNames": {"pattern": "^y{1,30}$"},
        });
        for text in texts(&all, &json!({"z".repeat(100_000): long})) {
            assert!(text.len() < 1200, "{}", text.len());
        }
    }

    #[test]
    fn strings_of_the_caller_are_not_shown() {
        let schema =
            json!({"type": "string", "maxLength": 2, "pattern": "^a", "enum": ["b"], "not": {}});
        for text in texts(&schema, &json!("hunter2")) {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn too_much_work_is_a_violation_of_its_own() {
        // Each level doubles the work, and neither `not` nor `anyOf` may take the end of the budget
        // for an answer.
        let bomb = json!({
            "$defs": {"level": {"allOf": [
                {"items": {"$ref": "#/$defs/level"}},
                {"items": {"$ref": "#/$defs/level"}},
            ]}},
            "anyOf": [{"not": {"$ref": "#/$defs/level"}}, true],
        });
        let nested = (0..100).fold(json!([]), |inner, _| json!([inner]));
        check(&bomb, &nested, &["$ is too complex to check"]);

        let heavy = json!({"pattern": "(a?){500}b$"});
        check(
            &heavy,
            &json!("a".repeat(1_000_000)),
            &["$ is too complex to check"],
        );
        let light = json!({"pattern": "^[a-z]+$"});
        check(&light, &json!("a".repeat(1_000_000)), &[]);
        check(
            &json!({"uniqueItems": true}),
            &json!((0..200_000).collect::<Vec<_>>()),
            &[],
        );
    }

    #[test]
    fn deep_values_do_not_exhaust_the_stack() {
        let schema = json!({"anyOf": [{"oneOf": [{"if": {"allOf": [{"items": {"$ref": "#"}}]}, "then": true}]}]});
        let nested = (0..127).fold(json!([]), |inner, _| json!([inner]));
        check(&schema, &nested, &["$ is too complex to check"]);
        let usual = json!({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [
            {"type": "null"},
            {"type": "array", "items": {"$ref": "#/$defs/n"}},
        ]}}});
        check(&usual, &nested, &[]);
    }
}
