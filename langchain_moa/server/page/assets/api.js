// Requests to the server, with the key if it wants one, and its errors in words.

const KEY = "moa-api-key";
let given = readKey();

export class ServerError extends Error {}

/** The reader would rather not give a key. */
export class KeyWantedError extends Error {
  constructor() {
    super("This server wants an API key.");
  }
}

/** Send a request; ask for the key when the server wants one. Resolves to a response that is not an error. */
export async function request(path, options = {}) {
  for (;;) {
    const key = given;
    const response = await send(path, options, key);
    if (response.ok) return response;
    if (response.status !== 401) throw new ServerError(await inWords(response));
    // Another request may have asked for it meanwhile.
    if (given === key) await askForKey({ isWrong: Boolean(key) });
  }
}

async function send(path, options, key) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  try {
    return await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server can't be reached. Is it still running?");
  }
}

/** An error's text: the server's own words, in OpenAI's shape, or else its status. */
async function inWords(response) {
  try {
    const { error } = await response.json();
    if (error.message) return error.message;
  } catch { /* not JSON: a proxy's page, say */ }
  return `The server answered with status ${response.status} ${response.statusText}`.trim() + ".";
}

let asking;

/** Resolves once there is a key in the tab's session. However many requests wait, the reader is asked once. */
function askForKey({ isWrong }) {
  asking ??= showDialog(isWrong).finally(() => { asking = undefined; });
  return asking;
}

function showDialog(isWrong) {
  const dialog = document.getElementById("key");
  const input = document.getElementById("key-value");
  document.getElementById("key-problem").hidden = !isWrong;
  input.value = "";
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    dialog.close("given");
  };
  dialog.querySelector("button[type=button]").onclick = () => dialog.close("");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.onclose = () => {
      const key = input.value.trim();
      input.value = "";
      if (dialog.returnValue !== "given" || !key) return reject(new KeyWantedError());
      keepKey(key);
      resolve();
    };
  });
}

function readKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch { // storage may be forbidden
    return null;
  }
}

function keepKey(key) {
  given = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch { /* then it lasts as long as the page */ }
}
