//! The walk through arrays and objects: their own keywords, and the way down to items and
//! properties.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::canonical::canonical;
use super::finding::{Finding, Path, listing, quoted};
use super::node::{Counted, Keyword, NodeId};
use super::pattern::Pattern;
use super::validate::{At, Verdict, Walk};

impl Walk<'_> {
    pub(super) fn array(&mut self, keyword: &Keyword, items: &[Value], at: At<'_>) -> Verdict {
        match keyword {
            Keyword::Size(Counted::Items, limit, bound) => {
                self.size(items.len(), "item", *limit, *bound, at)
            }
            Keyword::Items { prefix, rest } => self.items(prefix, *rest, items, at),
            Keyword::Contains { node, min, max } => self.contains(*node, *min, *max, items, at),
            Keyword::UniqueItems => self.unique(items, at),
            _ => Ok(true),
        }
    }

    fn items(
        &mut self,
        prefix: &[NodeId],
        rest: Option<NodeId>,
        items: &[Value],
        at: At<'_>,
    ) -> Verdict {
        let mut fits = true;
        for (index, value) in items.iter().enumerate() {
            let Some(id) = prefix.get(index).copied().or(rest) else {
                break;
            };
            let path = &Path::Index(at.path, index);
            fits &= self.check(id, At { value, path })?;
            if !fits && !self.is_loud() {
                break;
            }
        }
        Ok(fits)
    }

    fn contains(
        &mut self,
        node: NodeId,
        min: u64,
        max: u64,
        items: &[Value],
        at: At<'_>,
    ) -> Verdict {
        let mut count = 0;
        for value in items {
            count += u64::from(self.check_quietly(node, At { value, ..at })?);
            if count > max || (count >= min && max == u64::MAX) {
                break;
            }
        }
        let (words, bound) = match count {
            _ if count < min => ("at least", min),
            _ if count > max => ("at most", max),
            _ => return Ok(true),
        };
        self.miss(at, |path| {
            let rule =
                format!("must have {words} {bound} of the items that \"contains\" describes");
            Finding::new(path, rule).but_got(if count > max {
                "more".to_owned()
            } else {
                count.to_string()
            })
        })
    }

    fn unique(&mut self, items: &[Value], at: At<'_>) -> Verdict {
        let mut seen = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let text = canonical(item, &mut self.budget)?;
            if let Some(first) = seen.insert(text, index) {
                return self.miss(at, |path| {
                    let rule = format!("must not have equal items, as [{first}] and [{index}] are");
                    Finding::new(path, rule)
                });
            }
        }
        Ok(true)
    }

    pub(super) fn object(
        &mut self,
        keyword: &Keyword,
        map: &Map<String, Value>,
        at: At<'_>,
    ) -> Verdict {
        match keyword {
            Keyword::Size(Counted::Properties, limit, bound) => {
                self.size(map.len(), "property", *limit, *bound, at)
            }
            Keyword::Required(names) => self.required(names, None, map, at),
            Keyword::DependentRequired(list) => {
                let mut fits = true;
                for (name, needed) in list {
                    self.budget.spend(1)?;
                    if map.contains_key(name) {
                        fits &= self.required(needed, Some(name), map, at)?;
                    }
                }
                Ok(fits)
            }
            Keyword::Properties {
                named,
                patterns,
                rest,
            } => self.properties(named, patterns, *rest, map, at),
            Keyword::PropertyNames(id) => self.property_names(*id, map, at),
            Keyword::DependentSchemas(list) => {
                self.budget.spend(list.len())?;
                let given = list.iter().filter(|(name, _)| map.contains_key(name));
                self.each(given.map(|(_, id)| (*id, at)))
            }
            _ => Ok(true),
        }
    }

    fn required(
        &mut self,
        names: &[String],
        because: Option<&str>,
        map: &Map<String, Value>,
        at: At<'_>,
    ) -> Verdict {
        self.budget.spend(names.len())?;
        let mut fits = true;
        for name in names.iter().filter(|name| !map.contains_key(*name)) {
            fits = self.miss(at, |path| {
                let reason = because.map(|other| format!(" when it has {}", quoted(other)));
                let rule = format!("must have property {}", quoted(name));
                Finding::new(path, rule + &reason.unwrap_or_default())
            })?;
            if !self.is_loud() {
                break;
            }
        }
        Ok(fits)
    }

    fn properties(
        &mut self,
        named: &BTreeMap<String, NodeId>,
        patterns: &[(Pattern, NodeId)],
        rest: Option<NodeId>,
        map: &Map<String, Value>,
        at: At<'_>,
    ) -> Verdict {
        let mut fits = true;
        for (name, value) in map {
            self.budget.spend(1)?;
            let path = &Path::Key(at.path, name);
            let inner = At { value, path };
            let own = named.get(name);
            let mut is_known = own.is_some();
            if let Some(id) = own {
                fits &= self.check(*id, inner)?;
            }
            for (pattern, id) in patterns {
                if self.is_in(pattern, name)? {
                    is_known = true;
                    fits &= self.check(*id, inner)?;
                }
            }
            if let Some(id) = rest.filter(|_| !is_known) {
                fits &= self.additional(id, name, named, inner, at)?;
            }
            if !fits && !self.is_loud() {
                break;
            }
        }
        Ok(fits)
    }

    /// A property that only `additionalProperties` speaks about.
    fn additional(
        &mut self,
        id: NodeId,
        name: &str,
        named: &BTreeMap<String, NodeId>,
        inner: At<'_>,
        outer: At<'_>,
    ) -> Verdict {
        if !self.nodes.get(id.0).is_some_and(|node| node.never) {
            return self.check(id, inner);
        }
        self.miss(outer, |path| {
            let known = listing(named.keys().map(|name| quoted(name)));
            let hint = if known.is_empty() {
                known
            } else {
                format!(" (it may have {known})")
            };
            Finding::new(
                path,
                format!("must not have property {}{hint}", quoted(name)),
            )
        })
    }

    fn property_names(&mut self, id: NodeId, map: &Map<String, Value>, at: At<'_>) -> Verdict {
        let mut fits = true;
        for name in map.keys() {
            self.budget.spend_on_bytes(name.len())?;
            let value = &Value::String(name.clone());
            if let Some(findings) = self.branch(id, At { value, ..at })? {
                fits = self.miss(at, |path| {
                    let why = findings.into_iter().next().map(|finding| finding.rule);
                    let why = why.unwrap_or_else(|| "must fit \"propertyNames\"".to_owned());
                    let rule = format!(
                        "must not have a property named {}: a name {why}",
                        quoted(name)
                    );
                    Finding::new(path, rule)
                })?;
                if !self.is_loud() {
                    break;
                }
            }
        }
        Ok(fits)
    }
}
