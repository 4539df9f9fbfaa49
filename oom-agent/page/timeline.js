// Kills by owner and time: a table whose cells are bars. A click asks for an owner, a brush for a time.

import { byId, el, put, svg } from './dom.js';
import { json } from './net.js';
import { asked, counted, narrow } from './state.js';
import { alone, clock, count, duration, machine, named, tick } from './units.js';

const BUCKETS = 72;
const HEIGHT = 22;
const BY = ['owner', 'workload', 'namespace', 'pod', 'container', 'unit', 'cgroup', 'comm', 'node', 'cluster'];

/** Conditions that name an owner: those of one row go in place of all. */
const OWNERS = ['workload', 'namespace', 'pod', 'container', 'unit', 'cgroup', 'subtree'];

/** How many there are by the last answer; null if that is not known. */
export let total = null;

/** Asks and shows. */
export async function show(signal) {
  const by = asked().by ?? 'owner';
  try {
    const counts = await json('v1/timeline', { ...counted(), by, buckets: BUCKETS, top: 8 }, signal);
    total = counts.total;
    render(counts, by);
  } catch (error) {
    if (error.name === 'AbortError') return;
    total = null;
    if (error.status) put(byId('timeline'), heading('Timeline'), el('p', { class: 'empty' }, error.message));
  }
}

function heading(words, ...more) {
  return el('div', { class: 'head' }, el('h2', { id: 'timeline-title' }, words), ...more);
}

function render(counts, by) {
  // Where there are several, it is told whose each is.
  const machines = new Set(counts.rows.map((row) => machine(row.of)).filter(Boolean));
  const called = (of) => (machines.size > 1 && machine(of) && machine(of) !== named(of) ? `${named(of)} on ${machine(of)}` : named(of));
  const rows = counts.rows.map((row) => ({ ...row, name: called(row.of) }));
  const others = counts.owners - rows.length;
  const of_others = counts.more_owners ? `more than ${count(others, 'other')}` : count(others, 'other');
  const rest = counts.rest.reduce((sum, one) => sum + one, 0);
  const all = counts.rest.map((one, at) => rows.reduce((sum, row) => sum + row.counts[at], one));
  const span = span_of(counts);
  const most = Math.max(1, ...rows.flatMap((row) => row.counts));
  const choose = el('select', { 'aria-label': 'By', onchange: (event) => narrow({ by: event.target.value === 'owner' ? null : event.target.value }) },
    BY.map((name) => el('option', { value: name, selected: name === by }, name === 'comm' ? 'process name' : name)));
  const table = el('table', { class: 'timeline' },
    el('caption', { class: 'unseen' }, `Kills by ${by} from ${clock(counts.from)} to ${clock(counts.to)}`),
    el('thead', { class: 'unseen' }, el('tr', {}, el('th', { scope: 'col' }, by), el('th', { scope: 'col' }, 'Over time'), el('th', { scope: 'col' }, 'Kills'))),
    el('tbody', {},
      line('All', all, Math.max(1, ...all), counts, null, counts.total, 'sum'),
      rows.map((row) => line(row.name, row.counts, most, counts, row.of, row.total, '')),
      (others > 0 || counts.more_owners) && line(of_others, counts.rest, Math.max(most, ...counts.rest), counts, null, rest, 'rest')),
    el('tfoot', { 'aria-hidden': 'true' }, el('tr', {}, el('td'), el('td', {}, axis(counts, span)), el('td'))));
  const zoomed = asked().since || asked().until;
  put(byId('timeline'), 
    heading('Kills', el('span', { class: 'muted' }, `${counts.total.toLocaleString('en')} · each bar ${duration(counts.bucket_ns)}`),
      el('span', { class: 'space' }),
      zoomed && el('button', { type: 'button', class: 'quiet', onclick: () => narrow({ since: null, until: null }) }, 'All time'),
      el('label', { class: 'by' }, 'by ', choose)),
    table);
}

const span_of = (counts) => (counts.bucket_ns * counts.rest.length) / 1e6;

/** When part `at` begins: exact to the millisecond. */
const time_of = (counts, at) => new Date(Date.parse(counts.from) + (counts.bucket_ns / 1e6) * at);

function line(name, values, most, counts, of, sum, kind) {
  const label = of && Object.keys(of).length
    ? el('button', { type: 'button', class: 'link', title: `Only ${name}`, onclick: () => narrow({ ...Object.fromEntries(OWNERS.map((one) => [one, null])), ...of, ...(of.cgroup && alone(of.cgroup)) }) }, name)
    : name;
  return el('tr', { class: kind }, el('th', { scope: 'row' }, label), el('td', {}, bars(name, values, most, counts)), el('td', { class: 'number' }, sum.toLocaleString('en')));
}

function bars(name, values, most, counts) {
  const span = span_of(counts);
  const said = values.flatMap((value, at) => (value ? [`${value} at ${tick(time_of(counts, at), span)}`] : []));
  const summary = said.length > 8 ? `${said.slice(0, 8).join(', ')}, and more` : said.join(', ') || 'none';
  const marks = values.flatMap((value, at) => {
    if (!value) return [];
    // The root: one kill is seen beside a hundred.
    const height = Math.max(3, Math.sqrt(value / most) * (HEIGHT - 2));
    return svg('rect', { class: 'mark', x: at + 0.1, y: HEIGHT - height, width: 0.8, height },
      svg('title', {}, `${count(value, 'kill')}, ${clock(time_of(counts, at))} to ${clock(time_of(counts, at + 1))}`));
  });
  const brush = svg('rect', { class: 'brush', y: 0, height: HEIGHT, x: 0, width: 0 });
  const picture = svg('svg', { viewBox: `0 0 ${values.length} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${name}: ${summary}`, class: 'bars' },
    svg('rect', { class: 'ground', x: 0, y: HEIGHT - 0.6, width: values.length, height: 0.6 }), marks, brush);
  brushed(picture, brush, values.length, counts);
  return picture;
}

/** A part of time is chosen by dragging over it, one bar by a click. */
function brushed(picture, brush, parts, counts) {
  let from = null;
  const part = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.min(parts - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * parts)));
  };
  const range = (event) => [Math.min(from, part(event)), Math.max(from, part(event)) + 1];
  const draw = (event) => {
    const [begin, end] = range(event);
    brush.setAttribute('x', begin);
    brush.setAttribute('width', end - begin);
  };
  picture.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    from = part(event);
    picture.setPointerCapture(event.pointerId);
    draw(event);
  });
  picture.addEventListener('pointermove', (event) => from !== null && draw(event));
  picture.addEventListener('pointercancel', () => { from = null; });
  picture.addEventListener('pointerup', (event) => {
    if (from === null) return;
    const [begin, end] = range(event);
    from = null;
    narrow({ since: time_of(counts, begin).toISOString(), until: time_of(counts, end).toISOString() });
  });
}

function axis(counts, span) {
  const at = [0, 1, 2, 3, 4].map((quarter) => time_of(counts, (counts.rest.length * quarter) / 4));
  return el('div', { class: 'axis' }, at.map((time) => el('span', {}, tick(time, span))));
}
