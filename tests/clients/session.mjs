// What every client of the TypeScript SDK does, and what it reports: one JSON line on stdout, which
// tests/it/clients.rs reads. Names of tools are taken from the server's list, in whichever spelling.

const spelled = name => name.replace(/[.:]/g, '_');

// `heard` is what the client heard beside its calls, where it can: { logs, changes, wantLogs(),
// callTool(params, options) }.
export async function session(client, tool, protocol, heard) {
  const report = { protocol: protocol(), server: client.getServerVersion()?.name };
  const listed = async () => {
    const names = [];
    let cursor;
    do {
      const page = await client.listTools(cursor === undefined ? undefined : { cursor });
      names.push(...page.tools.map(one => one.name));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return names;
  };
  const own = (names, name) => names.find(one => spelled(one) === spelled(name));
  const call = (name, args) => client.callTool({ name, arguments: args });

  report.names = await listed();
  const created = await call(own(report.names, 'dynamic.tool.create'), { tool: {
    name: tool,
    description: 'Divides a by b.',
    inputSchema: {
      type: 'object',
      properties: { a: { type: 'number' }, b: { type: 'number' } },
      required: ['a', 'b'],
    },
    outputSchema: {
      type: 'object',
      properties: { quotient: { type: 'number' } },
      required: ['quotient'],
    },
    code: 'if (args.b === 0) throw new RangeError("division by zero");\nreturn { quotient: args.a / args.b };',
  } });
  report.created = created.structuredContent?.tool?.name;
  const listedName = own(await listed(), tool);
  report.listed = listedName !== undefined;
  report.value = (await call(listedName, { a: 84, b: 2 })).structuredContent;
  const threw = await call(listedName, { a: 1, b: 0 });
  report.threw = { isError: threw.isError, text: threw.content[0].text };
  const invalid = await call(listedName, { a: 1 });
  report.invalid = { isError: invalid.isError, text: invalid.content[0].text };
  report.unknown = await call('no_such_tool', {}).then(
    () => 'answered',
    error => ({ code: error.code, message: error.message }));
  const once = await call(own(report.names, 'run_js_ephemeral'), { code: 'return 6 * 7' });
  report.once = once.structuredContent.result;
  const asked = await call(own(report.names, 'run_js_ephemeral'), { code: `
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } } };
    const { action, content } = await ctx.elicit('name', { message: 'Who?', requestedSchema });
    return [action, content.name];` });
  report.asked = asked.isError ? asked.content[0].text : asked.structuredContent?.result;
  Object.assign(report, await made(client, tool, (name, args) => call(own(report.names, name), args)));
  if (heard) {
    await heard.wantLogs();
    report.progress = [];
    // The SDK may lose what it reads together with the result, so that the result comes later.
    await heard.callTool({
      name: own(report.names, 'run_js_ephemeral'),
      arguments: { code: `ctx.progress(1, 2); ctx.log('info', { half: 'way' }); console.error('%d', 7);
        ctx.progress(2, 2, 'whole');
        await new Promise(resolve => setTimeout(resolve, 200));` },
      _meta: { 'io.modelcontextprotocol/logLevel': 'info' },
    }, { onprogress: ({ progress, total }) => report.progress.push([progress, total]) });
    report.logs = heard.logs;
    // A stream for changes may open late; no change from now on is missed for good.
    for (let enabled = false; heard.changes === 0; enabled = !enabled) {
      await call(own(report.names, 'dynamic.tool.enable'), { name: tool, enabled });
      await new Promise(resolve => setTimeout(resolve, 100));
    }
    report.changed = true;
  }
  const deleted = await call(own(report.names, 'dynamic.tool.delete'), { name: tool });
  report.deleted = !deleted.isError;
  return report;
}

// A prompt, a resource and a template: made, listed, got and read.
async function made(client, name, act) {
  const [uri, uriTemplate] = [`${name}:one`, `${name}:of/{day}`];
  await act('dynamic.prompt.create', { prompt: {
    name,
    description: 'Greets.',
    arguments: [{ name: 'who', required: true, complete: ['Ada', 'Grace'] }],
    messages: [{ role: 'user', content: 'Greet {{who}}.' }],
  } });
  await act('dynamic.resource.create', { resource: {
    name, uri, mimeType: 'text/plain', text: 'It stands there.' } });
  await act('dynamic.resource.create', { resource: {
    name: `${name}.of`, uriTemplate, code: 'return `made of ${args.day}`;' } });
  const listed = async (method, member, field, value) =>
    (await client[method]())[member].some(one => one[field] === value);
  const report = {
    promptListed: await listed('listPrompts', 'prompts', 'name', name),
    resourceListed: await listed('listResources', 'resources', 'uri', uri),
    templateListed:
      await listed('listResourceTemplates', 'resourceTemplates', 'uriTemplate', uriTemplate),
  };
  const { messages } = await client.getPrompt({ name, arguments: { who: 'Ada' } });
  report.prompt = messages[0].content.text;
  const read = async uri => (await client.readResource({ uri })).contents[0].text;
  report.resource = await read(uri);
  report.ofTemplate = await read(`${name}:of/monday`);
  const ref = { type: 'ref/prompt', name };
  const completed = await client.complete?.({ ref, argument: { name: 'who', value: 'a' } });
  report.completed = completed?.completion.values;
  await act('dynamic.prompt.delete', { name });
  await act('dynamic.resource.delete', { name });
  await act('dynamic.resource.delete', { name: `${name}.of` });
  return report;
}
