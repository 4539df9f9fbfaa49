// The page: which view is open, what happens now, the keyboard, light and dark.

import { byId, el, put } from './dom.js';
import * as filters from './filters.js';
import { keep, kept } from './keep.js';
import * as list from './list.js';
import { follow } from './live.js';
import { askAgain } from './net.js';
import { ownerWords, title } from './rows.js';
import { address, asked, ask, question, story as route, storyOf } from './state.js';
import * as status from './status.js';
import * as story from './story.js';
import * as timeline from './timeline.js';
import { clock } from './units.js';

/** Counts are not asked for more often than this (ms), nor a story, nor the status. */
const COUNTS = 1500;
const STORY = 500;
const STATUS = 10_000;

let loading = new AbortController();
let live = null;
let query = null;

/** Not more often than each `pause`, and once more after the last call. */
function seldom(work, pause) {
  let timer = null;
  let again = false;
  const run = () => {
    again = false;
    timer = setTimeout(() => { timer = null; if (again) run(); }, pause);
    work();
  };
  return () => { if (timer) again = true; else run(); };
}

const recount = seldom(async () => { await timeline.show(loading.signal); if (byId('many')) list.foot(); }, COUNTS);
const restate = seldom(async () => { await status.show(); if (byId('many')) list.foot(); }, COUNTS);
const retell = seldom(story.again, STORY);

let at = null;

/** Shows what the address says, once. */
function moved() {
  if (location.href === at) return;
  at = location.href;
  show();
}

function show() {
  const now = route();
  byId('overview').hidden = now !== null;
  byId('story').hidden = now === null;
  if (now) {
    document.title = 'A kill · OOM kills';
    story.show(now);
    scrollTo(0, 0);
  } else if (!byId('story').hidden || byId('story').hasChildNodes()) {
    story.close();
  }
  const wanted = new URLSearchParams(question()).toString();
  const by = asked().by;
  if (wanted !== query) begin(wanted);
  else if (by !== shownBy) recount();
  shownBy = by;
  if (!now) {
    document.title = 'OOM kills';
    filters.show();
    scrollTo(0, place);
    focusRow(last);
  }
}

let shownBy;
/** Where the list was left. */
let place = 0;
let last = null;

/** Another question: another table, another stream. */
function begin(wanted) {
  query = wanted;
  loading.abort();
  loading = new AbortController();
  live?.end();
  const { signal } = loading;
  const { kind, ...conditions } = question();
  const kinds = [...new Set([...kind.split(','), 'OomKill', 'OomInstance', 'OomStuck', 'VictimEnd'])].join(',');
  const reload = () => Promise.all([list.load(signal), timeline.show(signal), status.show()]).then(() => byId('many') && list.foot());
  live = follow({ ...conditions, kind: kinds }, {
    opened: (again) => {
      alive(true);
      // From here on nothing is missed: what is stored is read now.
      if (again && list.isRead) { recount(); restate(); } else reload();
      const now = route();
      if (now) story.show(now);
    },
    told,
    placed,
    missed: reload,
    down: (error) => alive(false, error),
    refused: (error) => { alive(true); reload(); byId('live-words').textContent = error.message; },
  });
}

/** What was told since the store was last known to have all of it: a kill, or of the story that is open. */
let isAhead = false;
let isStoryAhead = false;

function told(event) {
  if (story.concerns(event)) {
    isStoryAhead = true;
    retell();
  }
  list.happened(event);
  if (event.kind === 'OomKill' || event.kind === 'OomStuck') announce(event);
  if (event.kind === 'OomKill') {
    isAhead = true;
    recount();
  }
  restate();
}

/** All of it is stored: what was asked too early is asked again. */
function placed() {
  if (isStoryAhead || story.waits()) retell();
  if (isAhead) recount();
  isAhead = isStoryAhead = false;
}

const waiting = [];
const speak = seldom(() => {
  const all = waiting.splice(0);
  const one = all[0];
  byId('announce').textContent = all.length === 1 ? `${one.kind === 'OomStuck' ? 'Stuck' : 'Killed'}: ${title(one)} in ${ownerWords(one)}` : `${all.length} new kills`;
}, 1000);

function announce(event) {
  waiting.push(event);
  speak();
}

/** Whether it answers; a banner says so where it does not. */
function alive(yes, error) {
  const banner = byId('banner');
  byId('live').className = `live ${yes ? 'up' : 'down'}`;
  byId('live-words').textContent = yes ? 'live' : 'not live';
  if (yes) heard = null;
  else heard ??= new Date();
  banner.hidden = yes;
  const said = yes ? '' : `It cannot be asked: ${error.message}. What is shown is of ${clock(heard)}; it is tried again by itself.`;
  if (banner.dataset.said === said) return;
  banner.dataset.said = said;
  const enter = () => { askAgain(); live?.now(); };
  put(banner, said, error?.status === 401 && [' ', el('button', { type: 'button', onclick: enter }, 'Enter the token')]);
}

let heard = null;

const rows = () => [...(byId('rows')?.children ?? [])];

/** Puts the focus on the row of this event. */
function focusRow(id) {
  if (id === null) return;
  rows().find((row) => row.dataset.id === id)?.querySelector('.open')?.focus({ preventScroll: true });
}

/** To the next row, or the one before; in a story, to its story. */
function step(by) {
  const open = route();
  if (open) {
    // What came of a kill has the story of the kill.
    const here = storyOf({ kind: { kill: 'OomKill', report: 'OomInstance' }[open.kind], id: open.id });
    const all = list.events();
    const from = all.findIndex((event) => event.id === last && storyOf(event) === here);
    const at = from < 0 ? all.findIndex((event) => storyOf(event) === here) : from;
    const rest = by > 0 ? all.slice(at + 1) : all.slice(0, Math.max(0, at)).reverse();
    const next = at < 0 ? null : rest.find((event) => storyOf(event) !== here);
    if (next) { last = next.id; location.replace(storyOf(next)); }
    return;
  }
  const all = rows();
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
  next?.querySelector('.open').focus();
  next?.scrollIntoView({ block: 'nearest' });
}

function back() {
  if (route()) location.hash = '#/';
  else if (document.activeElement?.closest('#filters')) document.activeElement.blur();
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  Escape: back,
  '/': () => { if (route()) back(); byId('filter')?.focus(); },
  t: turn,
  '?': () => byId('help').showModal(),
};

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const isTyping = event.target.closest?.('input, select, textarea');
  if (isTyping && event.key !== 'Escape') return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const THEMES = ['system', 'light', 'dark'];

/** Light, dark, or as the system is. */
function turn() {
  const now = kept('localStorage', 'theme') ?? 'system';
  dress(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function dress(theme) {
  keep('localStorage', 'theme', theme);
  document.documentElement.dataset.theme = theme;
  byId('theme').textContent = { system: '◐ Auto', light: '○ Light', dark: '● Dark' }[theme] ?? '◐ Auto';
  byId('theme').setAttribute('aria-label', `Theme: ${theme === 'system' ? 'as the system' : theme}`);
}

dress(kept('localStorage', 'theme') ?? 'system');
byId('theme').addEventListener('click', turn);
byId('keys').addEventListener('click', () => byId('help').showModal());
byId('to-status').addEventListener('click', (event) => {
  event.preventDefault();
  if (route()) location.hash = '#/';
  byId('status').scrollIntoView();
  byId('status').focus();
});
byId('home').addEventListener('click', (event) => { event.preventDefault(); ask({}); });
document.addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.matches('.open')) {
    place = scrollY;
    last = link.closest('tr').dataset.id;
  } else if (link.matches('[data-ask]')) {
    event.preventDefault();
    place = 0;
    ask(Object.fromEntries(new URL(link.href).searchParams));
  }
});
addEventListener('online', () => live?.now());
document.addEventListener('visibilitychange', () => { if (!document.hidden) live?.now(); });
addEventListener('asked', moved);
addEventListener('popstate', moved);
addEventListener('hashchange', moved);
setInterval(() => { if (!document.hidden) restate(); }, STATUS);

list.tellWatched(status.watched);
moved();
