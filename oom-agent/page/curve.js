// The memory of a cgroup before a kill: usage and what it was made of, the limit, and where nothing was recorded.

import { el, svg } from './dom.js';
import { UNKNOWN, bytes, duration } from './units.js';

const WIDTH = 760;
const HEIGHT = 230;
const LEFT = 64;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 26;

/** A reading that has not moved is kept each 10 s: what is longer, with a late one beside it, is a gap; nanoseconds. */
const GAP = 11.5e9;

const LAYERS = [['anon_bytes', 'anonymous'], ['file_bytes', 'page cache'], ['kernel_bytes', 'kernel']];

/** The picture, its words, and the same as a table. */
export function curve(report) {
  const samples = report.memory_history ?? [];
  if (samples.length < 2) {
    return el('p', { class: 'muted' }, samples.length ? `One reading: ${bytes(samples[0].usage_bytes)}, ${duration(samples[0].t_ns)} before.` : 'Its memory was not recorded before the kill: it lived too short, or recording is off.');
  }
  const limit = samples.findLast((one) => one.limit_bytes !== undefined)?.limit_bytes ?? null;
  const begin = samples[0].t_ns;
  const end = Math.max(0, samples.at(-1).t_ns);
  const most = Math.max(limit ?? 0, ...samples.map((one) => one.usage_bytes)) * 1.06 || 1;
  const x = (t) => LEFT + ((t - begin) / (end - begin || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - TOP - BOTTOM);
  const parts = unbroken(samples);
  const layered = samples.some((one) => one.anon_bytes !== undefined);
  return el('figure', { class: 'curve' },
    svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-labelledby': 'curve-title curve-words' },
      svg('title', { id: 'curve-title' }, 'Memory before the kill'),
      svg('desc', { id: 'curve-words' }, said(report, samples, limit)),
      scale(begin, end, most, x, y),
      gaps(parts, x),
      layered && LAYERS.map((_, at) => parts.map((part) => area(part, at, x, y))),
      parts.map((part) => svg('path', { class: 'usage', d: path(part.map((one) => [x(one.t_ns), y(one.usage_bytes)])) })),
      limit !== null && [
        svg('path', { class: 'limit', d: steps(samples, x, y) }),
        svg('text', { class: 'limit-words', x: LEFT + 6, y: y(limit) - 4 }, `limit ${bytes(limit)}`)],
      svg('path', { class: 'kill', d: `M${x(0)} ${TOP}V${HEIGHT - BOTTOM}` })),
    el('figcaption', {},
      el('span', { class: 'key usage-key' }, 'usage'), layered && LAYERS.map(([, name], at) => el('span', { class: `key layer-${at}` }, name)),
      parts.length > 1 && el('span', { class: 'key gap-key' }, 'not recorded'),
      el('p', {}, said(report, samples, limit))),
    el('details', {}, el('summary', {}, `As a table (${samples.length} readings)`), table(samples)));
}

function said(report, samples, limit) {
  const trend = report.memory_trend;
  const words = [`From ${bytes(samples[0].usage_bytes)} to ${bytes(samples.at(-1).usage_bytes)} within ${duration(samples.at(-1).t_ns - samples[0].t_ns)}`];
  words.push(limit === null ? 'no limit' : `limit ${bytes(limit)}`);
  if (trend) {
    words.push(`peak ${bytes(trend.peak_bytes)}`);
    const speed = trend.growth_bytes_per_s;
    const grown = trend.growth_of === 'anon' ? 'anonymous and shared memory ' : '';
    if (speed !== null) words.push(`${grown}${speed < 0 ? 'falling' : 'growing'} by ${bytes(Math.abs(speed))} a second over the last ${duration(trend.growth_over_ns)}`);
    const above = trend.since_80_percent_ns;
    if (above !== null) words.push(above > 0 ? `above 80 % of the limit for ${trend.since_80_percent_at_least ? 'more than ' : ''}${duration(above)}` : 'not above 80 % of the limit when it was read last');
  }
  return `${words.join('; ')}.`;
}

/** Runs of readings with no gap in them. */
export function unbroken(samples) {
  const parts = [[samples[0]]];
  samples.slice(1).forEach((one, at) => {
    if (one.t_ns - samples[at].t_ns > GAP) parts.push([]);
    parts.at(-1).push(one);
  });
  return parts;
}

const path = (points) => points.map(([a, b], at) => `${at ? 'L' : 'M'}${a.toFixed(1)} ${b.toFixed(1)}`).join('');

/** The layers below and with this one, as an area. */
function area(part, at, x, y) {
  const known = part.filter((one) => LAYERS.slice(0, at + 1).every(([name]) => one[name] !== undefined));
  if (known.length < 2) return null;
  const sum = (one, upTo) => LAYERS.slice(0, upTo).reduce((all, [name]) => all + one[name], 0);
  const top = known.map((one) => [x(one.t_ns), y(sum(one, at + 1))]);
  const bottom = known.map((one) => [x(one.t_ns), y(sum(one, at))]).reverse();
  return svg('path', { class: `layer-${at}`, d: `${path([...top, ...bottom])}Z` });
}

/** The limit, which may have been another one before. */
function steps(samples, x, y) {
  const known = samples.filter((one) => one.limit_bytes !== undefined);
  return known.map((one, at) => `${at ? `H${x(one.t_ns).toFixed(1)}V` : `M${LEFT} `}${y(one.limit_bytes).toFixed(1)}`).join('') + `H${WIDTH - RIGHT}`;
}

function gaps(parts, x) {
  return parts.slice(1).map((part, at) => {
    const from = x(parts[at].at(-1).t_ns);
    return svg('rect', { class: 'gap', x: from, y: TOP, width: Math.max(1, x(part[0].t_ns) - from), height: HEIGHT - TOP - BOTTOM }, svg('title', {}, 'not recorded'));
  });
}

function scale(begin, end, most, x, y) {
  const lines = [0, 0.25, 0.5, 0.75, 1].map((share) => share * (most / 1.06));
  const times = [0, 1, 2, 3, 4].map((quarter) => begin + ((end - begin) * quarter) / 4);
  return [
    lines.map((value) => [svg('path', { class: 'grid', d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }), svg('text', { class: 'tick', x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, bytes(value))]),
    times.map((time, at) => svg('text', { class: 'tick', x: x(time), y: HEIGHT - 8, 'text-anchor': ['start', 'middle', 'middle', 'middle', 'end'][at] }, at === 4 ? 'kill' : `−${duration(time)}`)),
  ];
}

function table(samples) {
  const cell = (value) => el('td', { class: 'number' }, value === undefined ? UNKNOWN : bytes(value));
  return el('div', { class: 'scroll' }, el('table', { class: 'small' },
    el('thead', {}, el('tr', {}, ['Before the kill', 'Usage', 'Limit', 'Anonymous', 'Page cache', 'Kernel', 'Swap', 'Some waited'].map((name) => el('th', { scope: 'col' }, name)))),
    el('tbody', {}, samples.map((one) => el('tr', {}, el('th', { scope: 'row' }, duration(one.t_ns)),
      ['usage_bytes', 'limit_bytes', 'anon_bytes', 'file_bytes', 'kernel_bytes', 'swap_bytes'].map((name) => cell(one[name])),
      el('td', { class: 'number' }, one.pressure_some_percent === undefined ? UNKNOWN : `${one.pressure_some_percent} %`))))));
}
