// The table of events: pages by cursor, and what happens now on top.

import { byId, el, put } from './dom.js';
import { KINDS } from './filters.js';
import { json } from './net.js';
import { COLUMNS, row } from './rows.js';
import { asked, narrow, question } from './state.js';
import { total } from './timeline.js';

const PAGE = 100;

/** More rows than this are not kept at the top of the page: the oldest of them are asked for again. */
const MOST = 2000;

let shown = new Map();
let next = null;
let loading = null;

/** The newest page is being read: what is told meanwhile. */
let reading = null;

/** Whether the rows are those of the question. */
export let isRead = false;

const key = (event) => `${event.kind} ${event.id}`;
const body = () => byId('rows');

/** All events that are shown, in their order. */
export const events = () => [...shown.values()].map((one) => one.event).sort((a, b) => Date.parse(b.time) - Date.parse(a.time));

/** Begins anew with the newest page. */
export async function load(signal) {
  const list = byId('list');
  const mine = reading = { signal, told: reading?.signal === signal ? reading.told : [] };
  isRead = false;
  list.setAttribute('aria-busy', 'true');
  try {
    const page = await json('v1/events', { ...question(), limit: PAGE }, signal);
    if (reading !== mine) return;
    shown = new Map();
    frame(list);
    add(page.events, false);
    next = page.next && { after: page.next };
    isRead = true;
    add(mine.told, true);
    foot();
  } catch (error) {
    if (error.name === 'AbortError' || reading !== mine) return;
    if (error.status || !body()) trouble(list, error);
  } finally {
    if (reading === mine) {
      reading = null;
      list.removeAttribute('aria-busy');
    }
  }
}

/** Something has happened just now. */
export function happened(event) {
  if (!question().kind.split(',').includes(event.kind)) return;
  if (reading) {
    reading.told.push(event);
    return;
  }
  if (!body() || shown.has(key(event))) return;
  add([event], true);
  // Not under the eyes of who reads farther down.
  if (shown.size > MOST && scrollY < innerHeight) trim();
  foot();
}

/** Shows how many there are, by the latest count. */
export function foot() {
  const all = asked().kind || asked().scope ? null : total;
  const of = all !== null && all >= shown.size ? ` of ${all.toLocaleString('en')}` : '';
  byId('many').textContent = shown.size ? `${shown.size.toLocaleString('en')}${of}` : '';
  byId('more').hidden = next === null;
  byId('empty').hidden = shown.size > 0;
  byId('table').hidden = shown.size === 0;
  if (shown.size === 0) put(byId('empty'), ...nothing());
}

/** Words for an empty table: set by who knows what is watched. */
export let watched = () => null;
export const tellWatched = (words) => { watched = words; };

function nothing() {
  const narrowed = Object.keys(asked()).some((name) => name !== 'by' && name !== 'kind');
  const what = KINDS[question().kind]?.toLowerCase() ?? 'events';
  if (narrowed) return [el('p', {}, `No ${what} that fit.`), el('button', { type: 'button', onclick: () => narrow(Object.fromEntries(Object.keys(asked()).map((name) => [name, null]))) }, 'Show all')];
  return [el('p', { class: 'calm' }, `No ${what} so far.`), watched()];
}

function frame(list) {
  const title = KINDS[question().kind] ?? 'Events';
  put(list, 
    el('div', { class: 'head' }, el('h2', { id: 'list-title' }, title), el('span', { id: 'many', class: 'muted' })),
    el('div', { id: 'empty', class: 'empty', hidden: true }),
    el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-labelledby': 'list-title' },
      el('table', { id: 'table', class: 'events' },
        el('caption', { class: 'unseen' }, `${title}, the newest first`),
        el('thead', {}, el('tr', {}, COLUMNS.map((name) => el('th', { scope: 'col', class: name === 'Memory' ? 'number' : '' }, name)))),
        el('tbody', { id: 'rows' }))),
    el('button', { type: 'button', id: 'more', class: 'quiet', hidden: true, onclick: more }, 'Older'));
  seen.disconnect();
  seen.observe(byId('more'));
}

function trouble(list, error) {
  shown = new Map();
  put(list, el('div', { class: 'head' }, el('h2', { id: 'list-title' }, 'Events')),
    el('div', { class: 'empty', role: 'alert' }, el('p', {}, error.status ? error.message : 'Nobody answers yet.')));
}

function add(events, isNew) {
  for (const event of events) {
    if (shown.has(key(event))) continue;
    const at = event.time ? Date.parse(event.time) : 0;
    const node = row(event);
    if (isNew) node.classList.add('new');
    const later = isNew ? [...body().children].find((other) => Number(other.dataset.at) < at) : null;
    node.dataset.at = at;
    body().insertBefore(node, later ?? null);
    shown.set(key(event), { event, node });
  }
}

function trim() {
  while (shown.size > MOST - PAGE) {
    const last = body().lastElementChild;
    shown.delete(`${last.dataset.kind} ${last.dataset.id}`);
    last.remove();
  }
  const oldest = body().lastElementChild.querySelector('.time').title;
  next = oldest ? { until: oldest } : null;
}

/** The next page, when its place comes into sight. */
async function more() {
  if (loading || next === null) return;
  const button = byId('more');
  loading = json('v1/events', { ...question(), limit: PAGE, ...next });
  try {
    const page = await loading;
    if (button !== byId('more')) return;
    add(page.events, false);
    next = page.next && { after: page.next };
    button.textContent = 'Older';
  } catch (error) {
    button.textContent = `Older (${error.message}; try again)`;
  } finally {
    loading = null;
    foot();
  }
}

const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), { rootMargin: '400px' });
