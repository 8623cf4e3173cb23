// client.mjs ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: the Inspector's command line, a process for
// each request as a person uses it. Reports as ../session.mjs does. ERA: legacy or auto.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { session } from '../session.mjs';

const [era, tool, ...target] = process.argv.slice(2);
const inspector = fileURLToPath(new URL('node_modules/.bin/mcp-inspector', import.meta.url));
const server = target[0].startsWith('http')
  ? ['--transport', 'http', '--server-url', target[0]]
  // It hands on little of its own environment, and would read a target's flags as its own.
  : ['--transport', 'stdio', ...handed(['DOCKER_HOST', 'XDG_DATA_HOME']), '--', ...target];

function handed(names) {
  return names.flatMap(name => ['-e', `${name}=${process.env[name]}`]);
}

// The result of one request. A result with isError makes the command fail, but is printed too.
async function ask(...flags) {
  const command = [inspector, '--cli', '--quiet', '--format', 'json', '--protocol-era', era,
    ...flags, ...server];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, command)
    .catch(failed => failed);
  if (stdout.startsWith('{')) return JSON.parse(stdout).result;
  const { code, message } = JSON.parse(stderr.trim().split('\n').at(-1)).error;
  throw Object.assign(new Error(message), { code });
}

const { serverInfo, protocolVersion } = await ask('--method', 'initialize');
const client = {
  getServerVersion: () => serverInfo,
  listTools: () => ask('--method', 'tools/list'),
  callTool: ({ name, arguments: args }) =>
    ask('--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args)),
  listPrompts: () => ask('--method', 'prompts/list'),
  listResources: () => ask('--method', 'resources/list'),
  listResourceTemplates: () => ask('--method', 'resources/templates/list'),
  getPrompt: ({ name, arguments: args }) => ask('--method', 'prompts/get', '--prompt-name', name,
    '--prompt-args', ...Object.entries(args).map(pair => pair.join('='))),
  readResource: ({ uri }) => ask('--method', 'resources/read', '--uri', uri),
};
console.log(JSON.stringify(await session(client, tool, () => protocolVersion)));
