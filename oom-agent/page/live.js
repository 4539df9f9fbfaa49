// What happens now: one stream that comes back by itself, from where it was.

import { Refused, stream } from './net.js';

/** First and longest wait (ms) before it is tried again. */
const FIRST = 250;
const LONGEST = 5000;

/** Follows what is asked. Tells `opened(again)`, `told(event)`, `placed()` when all that was told is stored, `missed()`,
 * `down(error)`, and `refused(error)`, after which it has given up. Returns how to end it, and how to try at once. */
export function follow(query, on) {
  const end = new AbortController();
  let lastId = null;
  let wait = FIRST;
  let wake = () => {};

  async function run() {
    let again = false;
    while (!end.signal.aborted) {
      try {
        const messages = stream('v1/events/stream', query, lastId, end.signal, () => {
          wait = FIRST;
          safely(() => on.opened(again && lastId !== null));
          again = true;
        });
        for await (const message of messages) {
          if (message.id) lastId = message.id;
          if (message.event === 'gap') safely(on.missed);
          else if (message.data) safely(() => on.told(JSON.parse(message.data)));
          if (message.id) safely(on.placed);
        }
      } catch (error) {
        if (end.signal.aborted) return;
        if (error instanceof Refused && error.status === 400) {
          // It may be the place of a store that is gone; else it is the question.
          if (lastId === null) return on.refused(error);
          lastId = null;
        }
        on.down(error);
      }
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait * (0.75 + Math.random() / 2));
      });
      wait = Math.min(wait * 2, LONGEST);
    }
  }

  run();
  return { end: () => end.abort(), now: () => { wait = FIRST; wake(); } };
}

/** What cannot be shown is the page's own fault, and no trouble of the stream. */
function safely(tell) {
  try {
    tell();
  } catch (error) {
    reportError(error);
  }
}
