"""What every client of the Python SDK does, and what it reports: one JSON line on stdout, which
tests/it/clients.rs reads. Names of tools are taken from the server's list, in whichever spelling.

    await session(tool, names, call, made, error, heard)

names() lists the tools' names; call(name, arguments) gives (structured content, is error, first
text) of a result; made(name, uri, template) reports what it lists, gets and reads of these; error is
the SDK's exception for a JSON-RPC error; heard is what the client heard beside its calls: logs,
changes, want_logs(), call(name, arguments, progress callback).
"""

import asyncio
import re

TOOL = {
    "description": "Divides a by b.",
    "inputSchema": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
    "outputSchema": {
        "type": "object",
        "properties": {"quotient": {"type": "number"}},
        "required": ["quotient"],
    },
    "code": "if (args.b === 0) throw new RangeError('division by zero');\n"
            "return { quotient: args.a / args.b };",
}

PROMPT = {
    "description": "Greets.",
    "arguments": [{"name": "who", "required": True, "complete": ["Ada", "Grace"]}],
    "messages": [{"role": "user", "content": "Greet {{who}}."}],
}

ASKING = """
const requestedSchema = { type: 'object', properties: { name: { type: 'string' } } };
const { action, content } = await ctx.elicit('name', { message: 'Who?', requestedSchema });
return [action, content.name];"""


def own(names, name):
    def spelled(text):
        return re.sub("[.:]", "_", text)

    return next((one for one in names if spelled(one) == spelled(name)), None)


TALKING = """
ctx.progress(1, 2); ctx.log('info', { half: 'way' }); console.error('%d', 7);
ctx.progress(2, 2, 'whole');
await new Promise(resolve => setTimeout(resolve, 200));"""


async def session(tool, names, call, made, error, heard):
    report = {"names": await names()}
    built_in = {name: own(report["names"], name) for name in (
        "dynamic.tool.create", "dynamic.tool.delete", "dynamic.tool.enable",
        "dynamic.prompt.create", "dynamic.prompt.delete", "dynamic.resource.create",
        "dynamic.resource.delete", "run_js_ephemeral")}
    structured, _, _ = await call(built_in["dynamic.tool.create"], {"tool": TOOL | {"name": tool}})
    report["created"] = structured["tool"]["name"]
    listed = own(await names(), tool)
    report["listed"] = listed is not None
    report["value"], _, _ = await call(listed, {"a": 84, "b": 2})
    for case, arguments in (("threw", {"a": 1, "b": 0}), ("invalid", {"a": 1})):
        _, is_error, text = await call(listed, arguments)
        report[case] = {"isError": is_error, "text": text}
    try:
        await call("no_such_tool", {})
        report["unknown"] = "answered"
    except error as refusal:
        report["unknown"] = {"code": refusal.error.code, "message": refusal.error.message}
    structured, _, _ = await call(built_in["run_js_ephemeral"], {"code": "return 6 * 7"})
    report["once"] = structured["result"]
    structured, is_error, text = await call(built_in["run_js_ephemeral"], {"code": ASKING})
    report["asked"] = text if is_error else structured["result"]
    uri, template = f"{tool}:one", f"{tool}:of/{{day}}"
    await call(built_in["dynamic.prompt.create"], {"prompt": PROMPT | {"name": tool}})
    for resource in (
        {"name": tool, "uri": uri, "mimeType": "text/plain", "text": "It stands there."},
        {"name": f"{tool}.of", "uriTemplate": template, "code": "return `made of ${args.day}`;"},
    ):
        await call(built_in["dynamic.resource.create"], {"resource": resource})
    report |= await made(tool, uri, template)
    await call(built_in["dynamic.prompt.delete"], {"name": tool})
    for name in (tool, f"{tool}.of"):
        await call(built_in["dynamic.resource.delete"], {"name": name})
    await heard.want_logs()
    report["progress"] = []

    async def progress(done, total, message):
        report["progress"].append([int(done), int(total)])

    await heard.call(built_in["run_js_ephemeral"], {"code": TALKING}, progress)
    report["logs"] = heard.logs
    # A stream for changes may open late; no change from now on is missed for good.
    enabled = False
    while heard.changes == 0:
        await call(built_in["dynamic.tool.enable"], {"name": tool, "enabled": enabled})
        enabled = not enabled
        await asyncio.sleep(0.1)
    report["changed"] = True
    _, is_error, _ = await call(built_in["dynamic.tool.delete"], {"name": tool})
    report["deleted"] = not is_error
    return report
