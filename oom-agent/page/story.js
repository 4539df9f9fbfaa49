// One kill, from all that is known of it: its report, its tree, its memory, and how often its owner died before.

import { curve } from './curve.js';
import { byId, el, put } from './dom.js';
import { facts, made, processes, sources, stuck, trigger, victim } from './facts.js';
import { json, text } from './net.js';
import { ownerWords, process, title } from './rows.js';
import { address } from './state.js';
import { tree } from './tree.js';
import { UNKNOWN, bytes, clock, conditions, count, duration, justBefore, named, short, words } from './units.js';

/** What is shown, or waited for. Each showing has its own: what an older one still gets is of no use. */
let open = null;

/** Shows it; again, as it is known now. */
export async function show({ kind, id }) {
  const main = byId('story');
  const of = open?.id === id && open.kind === kind ? open : null;
  open?.end.abort();
  const mine = open = { kind, id, instance: of?.instance ?? null, isDrawn: of?.isDrawn ?? false, isWhole: false, end: new AbortController() };
  const { signal } = mine.end;
  if (!of) put(main, top('…'));
  try {
    const path = encodeURIComponent(id);
    const event = kind === 'report' ? null : await json(`v1/events/${path}`, kind === 'kill' ? { kind: 'OomKill' } : {}, signal);
    if (open !== mine) return;
    mine.instance = event?.instance_id ?? (kind === 'event' ? null : id);
    const report = mine.instance && await json(`v1/instances/${encodeURIComponent(mine.instance)}`, {}, signal).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
    if (open !== mine) return;
    if (kind === 'event' && !event.instance_id) plain(main, event);
    else told(mine, main, event, report);
    if (!mine.isDrawn) main.querySelector('h2').focus({ preventScroll: true });
    mine.isDrawn = true;
  } catch (error) {
    if (open !== mine || error.name === 'AbortError') return;
    // Nobody answers now: what was told stays.
    if (error.status !== 404 && mine.isDrawn) return;
    put(main, top('No story'), el('p', { class: 'empty', role: 'alert' }, error.message));
  }
}

function told(mine, main, event, report) {
  if (!report && !event) throw Object.assign(new Error('There is no such report, or it is no longer kept.'), { status: 404 });
  const kill = report?.kills.find((one) => one.id === mine.id) ?? event ?? report?.kills[0] ?? null;
  mine.isWhole = report !== null;
  render(main, kill, report);
  if (kill) before(mine, kill, report);
  if (kill && (!report || kill.end?.still_alive)) later(mine, kill);
  if (report) explained(mine, report);
}

/** Whether what was told is of what is shown. */
export const concerns = (event) => open !== null && (event.id === open.id || event.kill?.id === open.id
  || (open.instance !== null && [event.id, event.instance_id, event.kill?.instance_id].includes(open.instance)));

/** Whether something of it was not there yet. */
export const waits = () => open !== null && open.kind !== 'event' && !open.isWhole;

/** Shows the same again. */
export function again() {
  if (open) show(open);
}

/** Nothing is shown any more. */
export function close() {
  open?.end.abort();
  open = null;
  put(byId('story'));
}

function top(name, ...more) {
  return el('div', { class: 'story-top' }, el('a', { href: address_of_list(), class: 'back' }, '← All'), el('h2', { tabindex: -1 }, name), ...more);
}

const address_of_list = () => `${address(new URLSearchParams(location.search))}#/`;

const card = (name, ...content) => {
  const inside = content.flat(Infinity).filter(Boolean);
  return inside.length > 0 && el('section', { class: 'card' }, el('h3', {}, name), inside);
};

function render(main, kill, report) {
  const event = kill ?? report;
  const others = report?.kills.filter((one) => one !== kill) ?? [];
  put(main, 
    top(kill ? process(kill.victim) : words(report.outcome),
      el('p', { class: 'lead' }, sentence(kill, report)),
      el('p', { class: 'muted' }, clock(event.time), event.node && ` · ${event.node}`, event.backfill && ' · read back from the log of before the agent watched', event.time_source && event.time_source !== 'kernel' && ` · time by the ${event.time_source === 'logger' ? 'logger' : 'reader’s guess'}`)),
    !report && el('p', { class: 'banner calm' }, 'Its report is still open: both sources are waited for. It will appear here.'),
    el('div', { class: 'parts' },
      el('div', {},
        report && card('Where the limit was', limit_words(report), tree(report)),
        kill && card('Who died', victim(kill), owner(kill)),
        el('section', { class: 'card', id: 'before', hidden: true })),
      el('div', {},
        el('section', { class: 'card alarm', id: 'later', hidden: true }),
        report && card('Memory before the kill', curve(report)),
        report && card('What the limit’s cgroup held', made(report)),
        report && card('Who asked for memory', trigger(report)),
        report && card('What the kernel and both sources said', sources(report)))),
    report && card('Processes', processes(report)),
    others.length > 0 && card('Killed with it', el('ul', { class: 'plain' }, others.map((one) => el('li', {}, el('a', { href: `#/kill/${encodeURIComponent(one.id)}` }, process(one.victim)))))),
    el('section', { class: 'card', id: 'plainly', hidden: true }),
    el('section', { class: 'card' }, el('details', {}, el('summary', {}, 'As the API tells it (JSON)'), el('pre', {}, JSON.stringify(report ?? kill, null, 2)))));
}

function sentence(kill, report) {
  if (!kill) return report?.scope ? `${words(report.scope)}: nobody was killed.` : 'Nobody was killed.';
  const of = ownerWords(kill);
  const limit = report?.limit;
  const why = limit ? `the limit of the ${limit.level ?? 'cgroup'} (${bytes(limit.limit_bytes)}) was hit`
    : report?.scope === 'system' ? 'the machine ran out of memory' : report?.scope ? `${words(report.scope)} ran out of memory` : null;
  return `Killed in ${of}${why ? `: ${why}` : ''}.`;
}

function limit_words(report) {
  if (report.limit) return null;
  return el('p', {}, report.scope === 'system' ? 'The machine ran out, no limit was hit.' : report.scope ? `${words(report.scope)}: no limit of a cgroup was hit.` : 'No source told what ran out.');
}

function owner(kill) {
  const found = conditions(kill);
  return facts([
    ['Owner', found ? el('a', { href: address(found) , 'data-ask': true }, named(found)) : UNKNOWN],
    ['Image', kill.owner?.image],
    ['Runtime', kill.owner?.runtime && words(kill.owner.runtime)],
    ['Container', kill.owner?.container_id && el('code', { title: kill.owner.container_id }, short(kill.owner.container_id))],
    ['Class', kill.owner?.pod?.qos && words(kill.owner.pod.qos)],
    ['Cgroup', kill.cgroup?.path && el('code', { title: kill.cgroup.path }, short(kill.cgroup.path))],
  ]);
}

/** How often this owner died before the first kill of this instance. */
async function before(mine, kill, report) {
  const found = conditions(kill);
  const times = [kill, ...report?.kills ?? []].map((one) => one.time).filter(Boolean);
  if (!found || times.length === 0) return;
  const earlier = await json('v1/timeline', { ...found, until: justBefore(times), buckets: 1, top: 1 }, mine.end.signal).catch(() => null);
  const section = byId('before');
  if (!earlier || open !== mine || !section) return;
  const many = earlier.total;
  const all = el('a', { href: address(found), 'data-ask': true }, `All of ${named(found)}`);
  section.hidden = false;
  put(section, el('h3', {}, 'Before'), el('p', {}, many ? [el('strong', {}, count(many, 'kill')), ` of this owner before this one, the first of them ${clock(earlier.from)}. `] : 'Its owner’s first kill, as far as the store goes back. '), all);
}

/** What was told of its end after the report: that it was stuck, and how it ended at last. */
async function later(mine, kill) {
  const ask = (suffix, kind) => json(`v1/events/${encodeURIComponent(kill.id + suffix)}`, { kind }, mine.end.signal).catch(() => null);
  const [held, gone] = await Promise.all([ask('-stuck', 'OomStuck'), ask('-end', 'VictimEnd')]);
  const section = byId('later');
  if (open !== mine || !section || (!held && !gone)) return;
  section.hidden = false;
  put(section, el('h3', {}, 'It did not die at once'), held && stuck(held), gone && el('p', {}, `It ended ${duration(gone.kill.end?.exit_after_ns)} after its mark.`));
}

/** The report in plain words, as `oom-agent explain` has it. */
async function explained(mine, report) {
  const words = await text(`v1/instances/${encodeURIComponent(report.id)}/explanation`, {}, mine.end.signal).catch(() => null);
  const section = byId('plainly');
  if (!words || open !== mine || !section) return;
  section.hidden = false;
  put(section, el('h3', {}, 'In plain words'), el('pre', { class: 'words' }, words));
}

function plain(main, event) {
  put(main, top(title(event), el('p', { class: 'muted' }, `${event.kind} · ${clock(event.time)}`)),
    el('div', { class: 'parts' }, card('As the API tells it', el('pre', {}, JSON.stringify(event, null, 2)))));
}
