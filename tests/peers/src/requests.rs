//! Streams of bytes that almost are HTTP/1.1 requests: from a grammar of what parsers have read
//! differently, then damaged here and there.

use crate::random::Random;

/// The last request of every stream: whoever reads it has found every boundary before it.
pub const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nHost: s\r\n\r\n";

/// Out of how many slots one is filled with something wrong.
const ODDS: usize = 80;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// One to three requests, sometimes damaged, and the sentinel.
pub fn stream(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        request(random, &mut bytes);
    }
    if random.one_in(3) {
        damage(random, &mut bytes);
    }
    bytes.extend_from_slice(SENTINEL);
    bytes
}

/// Mostly one of `good`, now and then one of `bad`.
fn slot<'a>(random: &mut Random, good: &[&'a str], bad: &[&'a str]) -> &'a str {
    let from = if random.one_in(ODDS) { bad } else { good };
    random.pick(from)
}

fn end_of_line(random: &mut Random) -> &'static str {
    slot(
        random,
        &["\r\n"],
        &["\n", "\r", "\r\r\n", "\n\r\n", " \r\n", "\0\r\n", ""],
    )
}

fn request(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut put = |text: &str| bytes.extend_from_slice(text.as_bytes());
    put(slot(
        random,
        &["", "", "", "\r\n"],
        &["\n", "\r", " ", "\r\n\r\n", "\0", "\t"],
    ));
    request_line(random, &mut put);
    let (framing, body) = framed_body(random);
    let mut fields = vec![host(random)];
    fields.extend(framing);
    while random.one_in(2) {
        fields.push(other_field(random));
    }
    for _ in 0..fields.len() {
        let (one, other) = (random.below(fields.len()), random.below(fields.len()));
        fields.swap(one, other);
    }
    for field in fields {
        put(&field);
        put(end_of_line(random));
    }
    put(end_of_line(random));
    put(&body);
}

fn request_line(random: &mut Random, put: &mut impl FnMut(&str)) {
    put(slot(
        random,
        &[
            "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get", "M-SEARCH",
        ],
        &["", "G@T", "GE T", "P\0ST", "CONNECT", "PRI", "POST:"],
    ));
    put(slot(random, &[" "], &["  ", "\t", "", " \r\n ", "\u{b}"]));
    put(slot(
        random,
        &[
            "/",
            "/mcp",
            "/a?b=c",
            "//x",
            "/%00%0d%0a",
            "/..;/[x]",
            "http://h/a",
            "http://h:80/a?q",
            "https://[::1]:8/x",
            "HTTP://H",
            "/?",
        ],
        &[
            "*",
            "h:80",
            "a",
            "",
            "/#f",
            "/<>",
            "/\"",
            "/\u{e9}",
            "/a\tb",
            "/a b",
            "/\\",
            "/{|}^`",
            "http://u@h/",
            "http:///a",
            "http://h?q",
            "http://h:x/",
            "http://a:1:2/",
            "ftp://h/",
            "http:/a",
            "http://[::1/a",
            "http://h:99999/",
            "/a\0",
            "/\u{7f}",
        ],
    ));
    put(slot(random, &[" "], &["  ", "\t", "", "\u{b}"]));
    put(slot(
        random,
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &[
            "",
            "HTTP/2.0",
            "HTTP/1.10",
            "HTTP/01.1",
            "http/1.1",
            "HTTP/1.",
            "HTTP/1.1 x",
            "HTTP/0.9",
            "HTTP/1.2",
            "HTTP 1.1",
            "HTTP/1.1\t",
        ],
    ));
    put(end_of_line(random));
}

fn host(random: &mut Random) -> String {
    slot(
        random,
        &["Host: h", "host:h", "HOST: \th:80 ", "Host: [::1]:1"],
        &[
            "X: y",
            "Host: h\r\nHost: h",
            "Host:",
            "Host: a b",
            "Host: a/b",
            "Host : h",
            "Host: a,b",
            "Host: u@h",
            "Host: h:",
            "Host: h:x",
            "Host: [::1",
            "Host: h\r\n i",
        ],
    )
    .to_owned()
}

/// How many bytes a body is said to have that has `bytes`.
fn length(random: &mut Random, bytes: usize) -> String {
    let near = (bytes + 1).saturating_sub(random.below(3));
    match random.below(ODDS) {
        0 => format!("+{bytes}"),
        1 => format!("-{bytes}"),
        2 => format!("{bytes}, {bytes}"),
        3 => format!("{bytes},{near}"),
        4 => format!("0x{bytes:x}"),
        5 => format!("{bytes} {near}"),
        6 => format!("{bytes}.0"),
        7 => format!("{bytes};"),
        8 => format!("\u{b}{bytes}"),
        9 => format!("\r\n {bytes}"),
        10 => format!("{bytes}\r\n {near}"),
        11 => (*random.pick(&[
            "",
            "abc",
            "1e1",
            "\"5\"",
            "18446744073709551616",
            "18446744073709551615",
            "4611686018427387904",
            "99999999999999999999999",
        ]))
        .to_owned(),
        12..16 => near.to_string(),
        16..20 => format!("00{bytes}"),
        20..22 => format!("\t {bytes} \t"),
        _ => bytes.to_string(),
    }
}

fn length_field(random: &mut Random, bytes: usize) -> String {
    let name = slot(
        random,
        &["Content-Length", "content-length", "CONTENT-LENGTH"],
        &[
            "Content-Length ",
            " Content-Length",
            "\tContent-Length",
            "Content_Length",
            "Content-Length\0",
            "Content Length",
            "Content-Length\r\n",
            "X\nContent-Length",
        ],
    );
    format!("{name}: {}", length(random, bytes))
}

fn coding_field(random: &mut Random) -> String {
    let name = slot(
        random,
        &[
            "Transfer-Encoding",
            "transfer-encoding",
            "TRANSFER-ENCODING",
        ],
        &[
            "Transfer-Encoding ",
            " Transfer-Encoding",
            "Transfer_Encoding",
            "Transfer-Encoding\u{b}",
            "Transfer-Encoding\0",
            "Transfer\r\n-Encoding",
            "X\rTransfer-Encoding",
        ],
    );
    let coding = slot(
        random,
        &[" chunked", "chunked", " Chunked", "\tCHUNKED \t"],
        &[
            " identity",
            " gzip, chunked",
            " chunked, identity",
            " chunked, chunked",
            " xchunked",
            " chunked;q=1",
            " \"chunked\"",
            " chunke",
            " \u{b}chunked",
            " chunked,",
            " ,chunked",
            "\r\n chunked",
            " chunked\r\n , identity",
            " chunked\0",
            " ",
            " chunked\u{a0}",
        ],
    );
    format!("{name}:{coding}")
}

fn other_field(random: &mut Random) -> String {
    slot(
        random,
        &[
            "Accept: */*",
            "X-Empty:",
            "Connection: keep-alive",
            "Expect: 100-continue",
            "TE: trailers",
            "Upgrade: h2c",
            "Trailer: X",
            "Connection: upgrade, Content-Length",
            "Keep-Alive: 5",
            "Proxy-Connection: keep-alive",
            "X-Gate-Request: 9",
            "X_Y~!: \t z \t",
        ],
        &[
            "Connection: close",
            "no colon",
            ": no name",
            "X Y: z",
            " folded",
            "\tfolded",
            "X: \0",
            "X: \u{7f}",
            "X: a\rb",
            "X: a\nb",
            "X: \u{e9}",
            "X(): y",
            "Expect: 200-ok",
            "X :y",
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "\0X: y",
        ],
    )
    .to_owned()
}

/// The fields that announce a body, and its bytes.
fn framed_body(random: &mut Random) -> (Vec<String>, String) {
    let data = random.pick(&[
        "",
        "x",
        "hello",
        "0\r\n\r\n",
        "\r\n",
        SMUGGLED,
        "5\r\nhello\r\n0\r\n\r\n",
    ]);
    match random.below(10) {
        0..3 => (Vec::new(), String::new()),
        3..6 => (vec![length_field(random, data.len())], data.to_owned()),
        6..9 => (vec![coding_field(random)], chunks(random, data)),
        _ => {
            // Both, one twice, or a body that nobody announced.
            let body = match random.below(2) {
                0 => data.to_owned(),
                _ => chunks(random, data),
            };
            let mut fields = Vec::new();
            for _ in 0..random.below(3) {
                fields.push(match random.below(2) {
                    0 => length_field(random, body.len()),
                    _ => coding_field(random),
                });
            }
            (fields, body)
        }
    }
}

fn chunks(random: &mut Random, data: &str) -> String {
    let mut text = String::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(1 + random.below(rest.len()));
        rest = later;
        text += &chunk_size(random, chunk.len());
        text += chunk_extension(random);
        text += end_of_line(random);
        text += chunk;
        text += slot(
            random,
            &["\r\n"],
            &["\n", "", "\r", "\rX", "xx", "x\r\n", "\r\n\r\n"],
        );
    }
    text += slot(
        random,
        &["0", "0", "00", "0000"],
        &["", "-0", "+0", "0x0", "0 ", "00000000000000000"],
    );
    text += chunk_extension(random);
    text += end_of_line(random);
    while random.one_in(6) {
        text += slot(
            random,
            &[
                "A: b",
                "X-Y:",
                "Content-Length: 5",
                "Transfer-Encoding: chunked",
            ],
            &[
                "bad", " fold: x", ": x", "A : b", "A: \0", "A\nB: c", "(): x",
            ],
        );
        text += end_of_line(random);
    }
    text + end_of_line(random)
}

fn chunk_size(random: &mut Random, bytes: usize) -> String {
    match random.below(2 * ODDS) {
        0 => format!("+{bytes:x}"),
        1 => format!("-{bytes:x}"),
        2 => format!("0x{bytes:x}"),
        3 => format!("{bytes:x}g"),
        4 => format!(" {bytes:x}"),
        5 => format!("{bytes:x} "),
        6 => format!("1{bytes:016x}"),
        7 => format!("{bytes:017x}"),
        8 => String::new(),
        9 => format!("{:x}", bytes + 1),
        10 => format!("{:x}", bytes - 1),
        11 => format!("{bytes:x}_"),
        12 => "ffffffffffffffff".to_owned(),
        13..20 => format!("{bytes:08x}"),
        20..40 => format!("{bytes:X}"),
        _ => format!("{bytes:x}"),
    }
}

fn chunk_extension(random: &mut Random) -> &'static str {
    if !random.one_in(4) {
        return "";
    }
    slot(
        random,
        &[";", ";a", ";a=b", "; a=\"b;c\""],
        &[
            " ", "\t", " ;a", ";a\nb", ";\n", ";\r", " a", ";a\0", ";\u{7f}", "\0", ";\u{e9}",
        ],
    )
}

/// A few bytes changed, lost, doubled or put in.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    const TELLING: &[u8] = b"\r\n\r\n:;, \t0/\0\x0b\x7f\xff-+5";
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.bits() as u8,
            1 => bytes[at] = random.pick(TELLING),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.pick(TELLING)),
            4 => bytes.insert(at, bytes[at]),
            _ => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}
