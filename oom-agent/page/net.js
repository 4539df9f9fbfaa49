// Asks the server: JSON, text, and a stream of events. The token, where one is wanted, stays in this tab.

import { byId } from './dom.js';

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

let asking = null;

/** Asks the reader for the token, once for all who wait for it. */
function ask(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId('token');
    byId('token-wrong').hidden = !wrong;
    dialog.addEventListener('close', () => {
      const word = byId('token-word').value.trim();
      byId('token-word').value = '';
      if (word) sessionStorage.setItem(KEY, word);
      asking = null;
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

async function send(path, query, { signal, headers = {} } = {}) {
  const url = new URL(path, document.baseURI.split('#')[0].split('?')[0]);
  url.search = new URLSearchParams(query).toString();
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const all = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
    let response;
    try {
      response = await fetch(url, { signal, headers: all, cache: 'no-store', credentials: 'omit' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Refused(0, 'it does not answer');
    }
    if (response.ok) return response;
    if (response.status === 401) {
      if (sessionStorage.getItem(KEY) === token) await ask(token !== null);
      continue;
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
  let timer = setTimeout(() => silence.abort(), SILENT);
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
      timer = setTimeout(() => silence.abort(), SILENT);
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
  }
}
