// A program with node-fetch.
import { pathToFileURL } from 'node:url';
import { BASE, run } from './session.mjs';

const { default: fetch } = await import(pathToFileURL(`${process.env.CLIENTS}/node_modules/node-fetch/src/index.js`));

await run(async (method, path, body, headers) => {
  const answer = await fetch(BASE + path, { method, body, headers });
  return [answer.status, Buffer.from(await answer.arrayBuffer())];
});
