//! A request as it came from the gate: by itself, or as one of a batch.

use tiny_http::Header;

use crate::base::ids::random_hex;
use crate::gate::batch::Packed;

/// A whole request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Such as `POST`.
    pub(super) method: &'a str,
    /// In origin form.
    pub(super) target: &'a str,
    pub(super) body: &'a [u8],
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    /// One that came by itself; its body was read from it.
    pub(super) fn alone(request: &'a tiny_http::Request, body: &'a [u8]) -> Self {
        let pair = |field: &'a Header| (field.field.as_str().as_str(), field.value.as_str().trim());
        Self {
            method: request.method().as_str(),
            target: request.url(),
            body,
            fields: request.headers().iter().map(pair).collect(),
        }
    }

    /// One of a batch.
    pub(super) fn packed(packed: Packed<'a>) -> Self {
        Self {
            method: packed.method,
            target: packed.target,
            body: packed.body,
            fields: packed.fields,
        }
    }

    /// Names and values.
    pub(super) fn fields(&self) -> &[(&'a str, &'a str)] {
        &self.fields
    }

    /// The first value of a field.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// All values of a field as the one list that they mean (RFC 9110, section 5.3).
    pub(super) fn combined(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether a field occurs more than once.
    pub(super) fn is_repeated(&self, name: &str) -> bool {
        self.values(name).nth(1).is_some()
    }

    /// Its own id where that is 1 to 128 visible ASCII characters, else a new one.
    pub(super) fn id(&self) -> String {
        let fits = |id: &&str| {
            (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let given = self.header("x-request-id").filter(fits);
        given.map_or_else(random_hex, str::to_owned)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let same = move |field: &&(&str, &str)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| *value)
    }
}
