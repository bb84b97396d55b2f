// A program with a keep-alive agent: reads and writes over kept connections until its standard input
// ends, then says how it went. Asks again only where a connection that had been idle turned out to be
// closed, which Node tells (`reusedSocket`).

const http = require("http");

const base = process.argv[1];
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
const said = { done: 0, failed: [], written: [], closed: 0, longest: 0 };
let ended = false;
process.stdin.on("end", () => (ended = true)).resume();

function ask(name, method) {
  return new Promise((answered, failed) => {
    const path = method === "POST" ? "/api/spaces/coworkers" : "/api/auth/me";
    const request = http.request(base + path, { agent, method, timeout: 30000 }, (answer) => {
      answer.on("error", failed).on("end", () => answered(answer.statusCode)).resume();
    });
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", (error) => failed(Object.assign(error, { reused: request.reusedSocket })));
    request.end(method === "POST" ? JSON.stringify({ FullName: name }) : undefined);
  });
}

async function work(worker) {
  for (let count = 0; !ended; count++) {
    const name = `agent-${worker}-${count}`;
    const method = count % 2 ? "POST" : "GET";
    const begun = Date.now();
    for (let attempt = 0; ; attempt++) {
      try {
        const status = await ask(name, method);
        if (status !== 200) said.failed.push(`${name}: ${status}`);
        else if (method === "POST") said.written.push(name);
        break;
      } catch (error) {
        // Several kept connections may have been closed at once.
        if (error.reused && attempt < 3) {
          said.closed++;
          continue;
        }
        said.failed.push(`${name}: ${error}`);
        break;
      }
    }
    said.longest = Math.max(said.longest, (Date.now() - begun) / 1000);
    said.done++;
    // So that a restart finds the connection idle, too.
    await new Promise((later) => setTimeout(later, (count % 3) * 30));
  }
}

Promise.all([work(1), work(2)]).then(() => {
  agent.destroy();
  console.log(JSON.stringify(said));
});
