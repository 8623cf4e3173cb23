//! Several requests as one: a POST whose body is each of them as a private server would get it
//! alone, one after the other. It is answered by as many answers, in the same order, each complete
//! with its head. Both sides of it are here. Pure.

use super::limits::MAX_HEADERS;
use std::io::Write as _;

/// What the gate adds to the fields of a request: `Host`, `Content-Length`, `X-Gate-…`.
const MAX_FIELDS: usize = MAX_HEADERS + 4;

/// The head and the body of the POST. Every message is a head and its body.
pub(super) fn pack(mut messages: Vec<(Vec<u8>, Vec<u8>)>) -> (Vec<u8>, Vec<u8>) {
    let lengths = messages.iter().map(|(head, body)| head.len() + body.len());
    let total: usize = lengths.sum();
    // The last body may be large and is not copied.
    let last = messages.pop().unwrap_or_default();
    let mut bytes = Vec::with_capacity(64 + total - last.1.len());
    let _ = write!(bytes, "POST / HTTP/1.1\r\nContent-Length: {total}\r\n\r\n");
    for (head, body) in &messages {
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
    }
    bytes.extend_from_slice(&last.0);
    (bytes, last.1)
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// In origin form, such as `/mcp?x=1`.
    pub target: &'a str,
    /// Names and values, in the order in which they came.
    pub fields: Vec<(&'a str, &'a str)>,
    /// Of the length that its head says.
    pub body: &'a [u8],
}

/// These bytes are no batch; where the next request starts is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Takes the next request off the body of a batch, which must not be empty.
///
/// # Errors
/// [`Malformed`].
pub fn unpack<'a>(rest: &mut &'a [u8]) -> Result<Packed<'a>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = request.parse(rest) else {
        return Err(Malformed);
    };
    let mut length = 0;
    let mut fields = Vec::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        let value = str::from_utf8(field.value).map_err(|_| Malformed)?;
        if field.name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| Malformed)?;
        }
        fields.push((field.name, value));
    }
    let (body, behind) = rest
        .get(head..)
        .and_then(|rest| rest.split_at_checked(length))
        .ok_or(Malformed)?;
    *rest = behind;
    Ok(Packed {
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        fields,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::mutated;

    const ONE: &str = "POST /a?b HTTP/1.1\r\nHost: h\r\nA: b c\r\nContent-Length: 4\r\n\r\n";
    const TWO: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    fn packed() -> Vec<u8> {
        let message = |head: &str, body: &str| (head.into(), body.into());
        let messages = vec![
            message(ONE, "body"),
            message(TWO, ""),
            message(ONE, "\r\n\r\n"),
        ];
        let (mut head, body) = pack(messages);
        head.extend_from_slice(&body);
        head
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let bytes = packed();
        let inner = bytes.len() - "POST / HTTP/1.1\r\nContent-Length: 157\r\n\r\n".len();
        let outer = unpack(&mut &bytes[..]).unwrap();
        assert_eq!((outer.method, outer.target), ("POST", "/"));
        assert_eq!(
            outer.fields,
            [("Content-Length", inner.to_string().as_str())]
        );
        let mut rest = outer.body;
        for (target, fields, body) in [("/a?b", 3, "body"), ("/", 1, ""), ("/a?b", 3, "\r\n\r\n")] {
            let part = unpack(&mut rest).unwrap();
            let found = (part.target, part.fields.len(), part.body);
            assert_eq!(found, (target, fields, body.as_bytes()));
            assert_eq!(part.fields[0], ("Host", "h"));
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_cut_off_is_malformed() {
        let whole = format!("{ONE}body");
        for end in 0..whole.len() {
            let cut = unpack(&mut &whole.as_bytes()[..end]);
            assert_eq!(cut, Err(Malformed), "{end}");
        }
    }

    #[test]
    fn mutated_batches_are_read_or_malformed() {
        for input in mutated(&packed(), 20_000) {
            let mut rest = &input[..];
            while !rest.is_empty() && unpack(&mut rest).is_ok() {}
        }
    }
}
