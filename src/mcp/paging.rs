//! Lists in pages. A page's cursor is the key that it ended with, so that it holds while items come
//! and go.

use serde::Deserialize;

use super::dispatch::read;
use super::jsonrpc::{Request, RpcError};
use crate::base::ids::{hex, unhex};

/// Items on one page. Many clients read the first page only, so it is large.
const PAGE: usize = 1000;
/// Far longer than any key of ours.
const MAX_CURSOR_BYTES: usize = 8192;

/// The page that a request asks for of a list sorted by `key`, and the cursor of the next one.
///
/// # Errors
/// For a cursor that is none.
pub(super) fn page<T>(
    request: &Request<'_>,
    mut items: Vec<T>,
    key: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Option<String>), RpcError> {
    if let Some(cursor) = cursor(request)? {
        let after = decode(&cursor)
            .ok_or_else(|| RpcError::invalid_params("the cursor is not one of this list"))?;
        items.retain(|item| key(item) > after.as_str());
    }
    let more = items.len() > PAGE;
    items.truncate(PAGE);
    let last = items.last().filter(|_| more);
    let next = last.map(|item| hex(key(item).as_bytes()));
    Ok((items, next))
}

/// The cursor that a request comes with; none for the first page.
///
/// # Errors
/// For parameters that cannot be read.
pub(super) fn cursor(request: &Request<'_>) -> Result<Option<String>, RpcError> {
    #[derive(Deserialize)]
    struct Params {
        cursor: Option<String>,
    }
    let params: Params = read(request)?;
    Ok(params.cursor.filter(|cursor| !cursor.is_empty()))
}

fn decode(cursor: &str) -> Option<String> {
    if cursor.len() > MAX_CURSOR_BYTES {
        return None;
    }
    String::from_utf8(unhex(cursor)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let names = |gone: usize| (gone..2500).map(|number| format!("{number:04}")).collect();
        let ask = |params: &str, gone| {
            let request = Request {
                id: "1",
                method: String::new(),
                params: Some(params),
            };
            let names: Vec<String> = names(gone);
            page(&request, names, |name| name)
        };
        let (first, next) = ask("{}", 0).unwrap();
        assert_eq!(
            (first.len(), first.last().unwrap().as_str()),
            (PAGE, "0999")
        );
        let cursor = format!(r#"{{"cursor":"{}"}}"#, next.unwrap());
        // What the first page ended with may be gone.
        let (second, next) = ask(&cursor, 1000).unwrap();
        assert_eq!(second.first().unwrap(), "1000");
        let cursor = format!(r#"{{"cursor":"{}"}}"#, next.unwrap());
        let (third, next) = ask(&cursor, 0).unwrap();
        assert_eq!((third.len(), next), (500, None));
        let (same, _) = ask(r#"{"cursor":""}"#, 0).unwrap();
        assert_eq!(same, first);
        for wrong in ["x", "0", "ff", &"00".repeat(MAX_CURSOR_BYTES)] {
            let error = ask(&format!(r#"{{"cursor":"{wrong}"}}"#), 0).unwrap_err();
            assert_eq!(error.code, -32602, "{wrong}");
        }
    }
}
