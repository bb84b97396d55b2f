// Talks to an echo with Node's own WebSocket: text, bytes, much, and either end's farewell. Its first
// argument is where.

const url = process.argv[2];
const late = setTimeout(() => { throw new Error("it takes too long"); }, 60_000);

async function open() {
  const socket = new WebSocket(url, "chat");
  socket.binaryType = "arraybuffer";
  await new Promise((done, failed) => { socket.onopen = done; socket.onerror = failed; });
  if (socket.protocol !== "chat") throw new Error(`protocol ${socket.protocol}`);
  return socket;
}

const next = (socket) => new Promise((done, failed) => {
  socket.onmessage = (event) => done(event.data);
  socket.onclose = () => failed(new Error("closed"));
});
const closed = (socket) => new Promise((done) => { socket.onclose = done; });

const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
let socket = await open();
for (const message of ["héllo", bytes, "x".repeat(1_000_000)]) {
  const heard = next(socket);
  socket.send(message);
  const back = await heard;
  const same = typeof message === "string"
    ? back === message
    : Buffer.compare(Buffer.from(back), Buffer.from(message)) === 0;
  if (!same) throw new Error(`another came back than ${String(message).slice(0, 20)}`);
}
let end = closed(socket);
socket.send("bye");
if (!(await end).wasClean) throw new Error("no farewell from the host");

socket = await open();
end = closed(socket);
socket.close(1000, "enough");
if (!(await end).wasClean) throw new Error("no farewell to the host");
clearTimeout(late);
console.log("all of it");
