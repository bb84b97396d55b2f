// A program with axios.
import { createRequire } from 'node:module';
import { BASE, run } from './session.mjs';

const axios = createRequire(process.env.CLIENTS + '/')(process.env.AXIOS || 'axios');

await run(async (method, path, data, headers) => {
  const answer = await axios({
    method, url: BASE + path, data, headers, responseType: 'arraybuffer', validateStatus: () => true,
    maxBodyLength: Infinity, maxContentLength: Infinity,
  });
  return [answer.status, Buffer.from(answer.data)];
});
