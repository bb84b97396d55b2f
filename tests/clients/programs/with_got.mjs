// A program with got.
import { pathToFileURL } from 'node:url';
import { BASE, run } from './session.mjs';

const { got } = await import(pathToFileURL(`${process.env.CLIENTS}/node_modules/got/dist/source/index.js`));

await run(async (method, path, body, headers) => {
  const answer = await got(BASE + path, { method, body, headers, responseType: 'buffer', throwHttpErrors: false });
  return [answer.statusCode, answer.body];
});
