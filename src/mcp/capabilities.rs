//! What clients and the server declare that they can do.

use serde_json::{Value, json};

use crate::tools::Capabilities;

/// What the server declares, in both eras.
pub(super) fn server_capabilities() -> Value {
    json!({
        "tools": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "prompts": { "listChanged": true },
        "completions": {},
        "logging": {},
    })
}

/// What `ClientCapabilities` declare; what is no object declares nothing.
pub(super) fn client_capabilities(declared: Option<&Value>) -> Capabilities {
    let get = |name: &str| {
        declared
            .and_then(|all| all.get(name))
            .filter(|it| it.is_object())
    };
    let part = |whole: Option<&Value>, name: &str| {
        whole.is_some_and(|whole| whole.get(name).is_some_and(Value::is_object))
    };
    let (elicitation, sampling) = (get("elicitation"), get("sampling"));
    let elicits_urls = part(elicitation, "url");
    Capabilities {
        elicitation: elicitation.is_some(),
        elicits_forms: part(elicitation, "form") || elicitation.is_some() && !elicits_urls,
        elicits_urls,
        sampling: sampling.is_some(),
        samples_tools: part(sampling, "tools"),
        samples_context: part(sampling, "context"),
        roots: get("roots").is_some(),
    }
}

/// The letters of what is declared, in their order.
const LETTERS: [char; 7] = ['e', 'f', 'u', 's', 't', 'c', 'r'];
/// In place of no letter.
const NO_LETTER: &str = "-";

/// Capabilities as a word for a session's id.
pub(super) fn encode(declared: &Capabilities) -> String {
    let flags = [
        declared.elicitation,
        declared.elicits_forms,
        declared.elicits_urls,
        declared.sampling,
        declared.samples_tools,
        declared.samples_context,
        declared.roots,
    ];
    let letters = LETTERS.iter().zip(flags);
    let word: String = letters
        .filter(|(_, is)| *is)
        .map(|(letter, _)| letter)
        .collect();
    if word.is_empty() {
        return NO_LETTER.to_owned();
    }
    word
}

/// Capabilities from such a word, of ours.
pub(super) fn decode(word: &str) -> Capabilities {
    let [
        elicitation,
        elicits_forms,
        elicits_urls,
        sampling,
        samples_tools,
        samples_context,
        roots,
    ] = LETTERS.map(|letter| word.contains(letter));
    Capabilities {
        elicitation,
        elicits_forms,
        elicits_urls,
        sampling,
        samples_tools,
        samples_context,
        roots,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_declare() {
        let check = |declared: Value, expected: &[&str]| {
            let found = client_capabilities(Some(&declared));
            assert_eq!(decode(&encode(&found)), found);
            let parts = [
                ("elicitation", found.elicitation),
                ("form", found.elicits_forms),
                ("url", found.elicits_urls),
                ("sampling", found.sampling),
                ("tools", found.samples_tools),
                ("context", found.samples_context),
                ("roots", found.roots),
            ];
            let parts = parts.iter().filter(|(_, is_declared)| *is_declared);
            let found: Vec<_> = parts.map(|(name, _)| *name).collect();
            assert_eq!(found, expected, "{declared}");
        };
        check(json!({}), &[]);
        check(
            json!({"tasks": {}, "elicitation": true, "roots": null}),
            &[],
        );
        check(json!({"elicitation": {}}), &["elicitation", "form"]);
        let url = json!({"elicitation": {"url": {}}});
        check(url, &["elicitation", "url"]);
        let both = json!({"elicitation": {"url": {}, "form": {}}});
        check(both, &["elicitation", "form", "url"]);
        check(json!({"sampling": {}, "roots": {}}), &["sampling", "roots"]);
        let whole = json!({"sampling": {"tools": {}, "context": {}}});
        check(whole, &["sampling", "tools", "context"]);
        assert_eq!(client_capabilities(None), Capabilities::default());
    }
}
