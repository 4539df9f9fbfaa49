// Asks the server: JSON, text, and a stream of events. The token, where one is wanted, stays in this tab.

import { byId } from './dom.js';
import { keep, kept } from './keep.js';

const KEY = 'oom-agent-token';

/** Nothing at all for so long (ms): the stream is dead. The server says something every 15 s. */
const SILENT = 40_000;

/** The server's own words on what it cannot do; `status` 0: it does not answer. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** What a header can carry, and a token is. */
const TOKEN = /^[\x21-\x7e]+$/;

let asking = null;

/** The reader has closed the question without a token. */
let declined = false;

/** The reader may be asked again. */
export function askAgain() {
  declined = false;
}

const token = () => kept('sessionStorage', KEY);

/** Asks the reader for the token, once for all who wait for it. */
function ask(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId('token');
    const input = byId('token-word');
    byId('token-wrong').hidden = !wrong;
    const submit = (event) => {
      if (TOKEN.test(input.value.trim())) return;
      event.preventDefault();
      byId('token-wrong').hidden = false;
    };
    dialog.addEventListener('submit', submit);
    dialog.addEventListener('close', () => {
      dialog.removeEventListener('submit', submit);
      const word = input.value.trim();
      input.value = '';
      declined = dialog.returnValue !== 'given';
      if (!declined) keep('sessionStorage', KEY, word);
      asking = null;
      resolve();
    }, { once: true });
    dialog.returnValue = '';
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

async function send(path, query, { signal, headers = {} } = {}) {
  const url = new URL(path, document.baseURI.split('#')[0].split('?')[0]);
  url.search = new URLSearchParams(query).toString();
  for (;;) {
    const given = token();
    const all = given ? { ...headers, Authorization: `Bearer ${given}` } : headers;
    let response;
    try {
      response = await fetch(url, { signal, headers: all, cache: 'no-store', credentials: 'omit' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      if (error instanceof Refused) throw error;
      throw new Refused(0, 'it does not answer');
    }
    if (response.ok) return response;
    if (response.status === 401 && !declined) {
      if (token() === given) await ask(given !== null);
      signal?.throwIfAborted();
      if (!declined) continue;
    }
    throw await refusal(response);
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, problem.detail ?? response.statusText);
}

/** An answer as JSON. */
export async function json(path, query = {}, signal) {
  const response = await send(path, query, { signal });
  return response.json().catch((error) => { throw interrupted(error); });
}

/** An answer as text. */
export async function text(path, query = {}, signal) {
  const response = await send(path, query, { signal });
  return response.text().catch((error) => { throw interrupted(error); });
}

function interrupted(error) {
  return error.name === 'AbortError' ? error : new Refused(0, 'its answer broke off');
}

/** Server-sent events (`{ id, event, data }`) until the stream ends or dies; calls `opened` at its beginning. */
export async function* stream(path, query, lastId, signal, opened) {
  const silence = new AbortController();
  const die = () => silence.abort(new Refused(0, `nothing was heard for ${SILENT / 1000} s`));
  let timer = setTimeout(die, SILENT);
  try {
    const headers = { Accept: 'text/event-stream', ...(lastId ? { 'Last-Event-ID': lastId } : {}) };
    const response = await send(path, query, { signal: AbortSignal.any([signal, silence.signal]), headers });
    opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    let message = {};
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(die, SILENT);
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line === '') {
          if (message.id || message.data) yield message;
          message = {};
        } else if (!line.startsWith(':')) {
          const colon = line.indexOf(':');
          message[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
        }
      }
    }
  } finally {
    clearTimeout(timer);
    // Nobody reads what may still come.
    silence.abort();
  }
}
