//! The words that teach an author, who is usually a model, to get a tool right the first time.

use std::borrow::Cow;

use crate::config::{BUILT_INS, NameStyle};
use crate::domain::entry::underscored;

/// A text of ours with its built-in tools named as they are listed.
pub(super) fn in_style(style: NameStyle, text: &str) -> Cow<'_, str> {
    let mut styled = Cow::Borrowed(text);
    for (name, ..) in BUILT_INS {
        if style == NameStyle::Underscore && name.contains('.') && styled.contains(name) {
            styled = Cow::Owned(styled.replace(name, &underscored(name)));
        }
    }
    styled
}

/// For `initialize` and `server/discover`.
pub(super) const INSTRUCTIONS: &str = "\
This server lets you make tools while it runs. dynamic.tool.create stores a tool; it can be called at \
once, under its own name or, where your client does not refresh its list, by dynamic.tool.call. \
run_js_ephemeral runs code once without storing it. Each call runs in its own sandbox: nothing is kept \
between calls, there is no network, files can be written in /workspace and /tmp only.\n\n\
The code is the body of `async function run(args, ctx)` on Node.js 20 or newer: use `return`, `await` \
and `require` or `await import()`; static import/export is not possible. Return a JSON value. Throw an \
Error to report a failure: you get its message, line and column back, and can mend the code with \
dynamic.tool.update. What console.log prints is only shown on failure.\n\n\
Example: {\"tool\":{\"name\":\"text.word_count\",\"description\":\"Counts the words of a text.\",\
\"inputSchema\":{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"}},\
\"required\":[\"text\"],\"additionalProperties\":false},\
\"code\":\"return { words: args.text.split(/\\\\s+/).filter(Boolean).length };\"}}";

/// The code contract in short, for the descriptions of tools that take code.
pub(super) const CODE_CONTRACT: &str = "\
The code is the body of `async function run(args, ctx)` on Node.js: `return` a JSON value, `await` \
freely, load modules with `require(…)` or `await import(…)` (no static import/export). Throw to report \
a failure. Undefined becomes null; Map, Set, BigInt, Buffer and circular values are refused. \
ctx.content([...]) returns raw MCP content blocks, ctx.progress(done, total, message) and ctx.log(level, \
data) report on the way, ctx.signal aborts on cancellation. `await ctx.elicit(key, { message, \
requestedSchema })` asks the user, ctx.sample(key, { messages, maxTokens }) the client's model, \
ctx.listRoots(key) for its folders: the call may then be made again with the answers and the code run \
again from its top, so change nothing before you ask. No network, no memory of earlier calls; \
/workspace and /tmp are writable.";
