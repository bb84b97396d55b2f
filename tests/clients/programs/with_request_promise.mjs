// A program with request-promise.
import { createRequire } from 'node:module';
import { BASE, run } from './session.mjs';

const request = createRequire(process.env.CLIENTS + '/')('request-promise-native');

await run(async (method, path, body, headers) => {
  const answer = await request({
    method, uri: BASE + path, body, headers, encoding: null, resolveWithFullResponse: true, simple: false,
  });
  return [answer.statusCode, answer.body];
});
