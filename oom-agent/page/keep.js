// Keeps words in the browser; where it has no room for them, as long as the page is open.

const memory = new Map();

/** What is kept: `storage` is `localStorage` or `sessionStorage`. */
export function kept(storage, key) {
  try {
    return window[storage].getItem(key) ?? memory.get(key) ?? null;
  } catch {
    return memory.get(key) ?? null;
  }
}

export function keep(storage, key, value) {
  memory.set(key, value);
  try {
    window[storage].setItem(key, value);
  } catch {
    // It is blocked, or full.
  }
}
