// How the agent is: tier and why not better, sources, audit, losses, store, sinks. Of a fleet: its nodes.

import { byId, el } from './dom.js';
import { json } from './net.js';
import { knowMore } from './state.js';
import { clock, count, words } from './units.js';

/** The last status; null before the first. */
export let status = null;

/** Asks and shows. Tells whether it was told. */
export async function show(signal) {
  try {
    if (!fleet) {
      try {
        status = await json('v1/status', {}, signal);
        return agent();
      } catch (error) {
        if (error.status !== 404) throw error;
        fleet = true;
        knowMore(['cluster', 'node', 'image', 'workload']);
      }
    }
    nodes(await json('v1/nodes', {}, signal));
  } catch (error) {
    if (error.status) byId('status').replaceChildren(title('Status'), el('p', { class: 'empty' }, error.message));
  }
}

let fleet = false;

/** What is watched, for those who see nothing else. */
export function watched() {
  if (!status) return null;
  const up = status.sources.filter((source) => source.up).map((source) => source.name);
  return el('p', { class: 'muted' }, `${status.node ?? 'This node'} is watched since ${clock(status.started)} by ${up.join(', ') || 'nothing'}: `
    + (status.audit.unexplained === 0 ? 'the kernel has counted no other kill.' : `the kernel's own count ${status.audit.unexplained === null ? 'is not known' : `differs by ${status.audit.unexplained}`}.`));
}

const title = (word) => el('div', { class: 'head' }, el('h2', { id: 'status-title' }, word));
const fact = (name, ...value) => [el('dt', {}, name), el('dd', {}, ...value)];
const mark = (good, yes, no) => el('span', { class: good ? 'good' : 'bad' }, good ? `✓ ${yes}` : `✗ ${no}`);

function summary(good, said) {
  const link = byId('to-status');
  link.textContent = said;
  link.className = `state ${good ? 'good' : 'bad'}`;
  link.setAttribute('aria-label', `Status: ${said}`);
}

function agent() {
  const { audit, losses, store, sinks } = status;
  const lost = Object.entries(losses).filter(([, many]) => many > 0);
  const down = sinks.filter((sink) => sink.up === false);
  const whole = status.detecting && (audit.unexplained ?? 0) === 0 && down.length === 0;
  summary(whole, !status.detecting ? 'detection does not answer' : audit.unexplained ? `${audit.unexplained} unexplained` : down.length ? `${down[0].sink} is away` : `${status.tier}, all explained`);
  byId('node').textContent = status.node ?? '';
  byId('status').replaceChildren(title('Status'),
    el('dl', {},
      fact('Sees', el('strong', {}, status.tier), status.not_better.length > 0 && el('ul', { class: 'why' }, status.not_better.map((why) => el('li', {}, why)))),
      fact('Detection', mark(status.detecting, status.ready ? 'ready' : 'starting', 'does not answer')),
      fact('Audit', mark(audit.unexplained === 0, 'all kills explained', audit.unexplained === null ? 'the kernel has no counter' : `${audit.unexplained} unexplained`),
        el('small', {}, `${audit.kernel ?? 'unknown'} by the kernel’s count, ${count(audit.kills, 'kill')} told, ${count(audit.repeats, 'repeat')}`)),
      fact('Losses', lost.length ? el('ul', { class: 'plain' }, lost.map(([name, many]) => el('li', {}, `${words(name)}: ${many.toLocaleString('en')}`))) : mark(true, 'none'))),
    el('h3', {}, 'Sources'),
    el('ul', { class: 'plain' }, status.sources.map((source) => el('li', {}, mark(source.up, source.name, source.name), source.reason && el('small', {}, source.reason)))),
    el('h3', {}, 'Store'),
    el('p', {}, store ? [mark(store.waiting === 0, `${store.stored.toLocaleString('en')} stored`, `${store.waiting.toLocaleString('en')} wait for the disk`),
      el('small', {}, `${store.path} · since the start${store.removed ? `; ${store.removed.toLocaleString('en')} removed by retention` : ''}`)] : 'none: only what happens now is shown'),
    sinks.length > 0 && [el('h3', {}, 'Sinks'), el('ul', { class: 'plain' }, sinks.map(sink))],
    el('h3', {}, 'Protections'),
    el('p', { class: 'wraps' }, status.protections.map((one) => [el('span', { class: one.state === 'on' ? 'good' : 'muted', title: words(one.state?.state ?? one.state) }, `${one.state === 'on' ? '✓' : '–'} ${one.name}`), ' '])),
    el('p', { class: 'muted small' }, `oom-agent ${status.version}, pid ${status.pid}, since ${clock(status.started)}`));
}

function sink(one) {
  const behind = one.behind ? `, ${one.behind.toLocaleString('en')} behind` : '';
  const more = [one.lost && `${one.lost} lost`, one.refused && `${one.refused} refused`, one.up === false && one.last_error].filter(Boolean).join('; ');
  return el('li', {}, mark(one.up !== false, `${one.sink}: ${one.delivered.toLocaleString('en')} delivered${behind}`, `${one.sink}: away since ${clock(one.since)}${behind}`), more && el('small', {}, more));
}

/** Of a fleet: whoever is silent or unexplained first, as the server says. */
function nodes(answer) {
  const all = answer.nodes ?? answer;
  const bad = all.filter((node) => node.silent || (node.audit?.unexplained ?? node.unexplained ?? 0) !== 0);
  summary(bad.length === 0, bad.length ? `${count(bad.length, 'node')} in trouble` : `${count(all.length, 'node')}, all well`);
  byId('status').replaceChildren(title('Nodes'),
    el('ul', { class: 'plain' }, all.slice(0, 200).map((node) => el('li', {},
      mark(!bad.includes(node), `${node.cluster ?? ''} ${node.node ?? ''}`, `${node.cluster ?? ''} ${node.node ?? ''}`),
      el('small', {}, [node.silent && 'silent', node.tier, node.time && `heard ${clock(node.time)}`].filter(Boolean).join(' · '))))),
    all.length > 200 && el('p', { class: 'muted' }, `and ${all.length - 200} more`));
}
