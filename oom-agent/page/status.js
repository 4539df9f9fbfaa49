// How the agent is: tier and why not better, sources, audit, losses, store, sinks. Of a fleet: its nodes. What is
// wrong the agent judges itself (`troubles`).

import { byId, el, put } from './dom.js';
import { json } from './net.js';
import { clock, count, machine, words } from './units.js';

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
      }
    }
    nodes(...await Promise.all([json('v1/nodes', {}, signal), json('v1/fleet', {}, signal)]));
  } catch (error) {
    if (error.status) put(byId('status'), title('Status'), el('p', { class: 'empty' }, error.message));
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

/** In the head: the first trouble and how many more there are, or that all is well, if that is proven. */
function summary(troubles, well, proven = true) {
  const [first, ...more] = troubles.filter(Boolean);
  const said = first ? `${first}${more.length ? ` and ${more.length} more` : ''}` : well;
  const link = byId('to-status');
  link.textContent = said;
  link.title = troubles.filter(Boolean).join('; ');
  link.className = `state ${first ? 'bad' : proven ? 'good' : 'muted'}`;
  link.setAttribute('aria-label', `Status: ${said}`);
}

/** What the tier and the audit do not say themselves. */
const isOpen = ({ severity }) => severity !== 'unproven' && severity !== 'limited';

/** Not without its reason: detection does not answer, or the kernel has no counter. */
const unproven = () => el('span', { class: 'muted' }, status.troubles.find((one) => one.severity === 'unproven')?.what ?? 'unknown');

const counted = ({ unexplained }) => (unexplained === null ? 'no counter' : unexplained < 0 ? 'counting' : 'all explained');

function agent() {
  const { audit, losses, store, sinks, troubles } = status;
  const lost = Object.entries(losses).filter(([, many]) => many > 0);
  const harm = new Set(troubles.filter((one) => one.severity === 'lost' && one.about in losses).map((one) => one.about));
  const proven = audit.unexplained !== null;
  summary(troubles.filter(isOpen).map((one) => one.what), `${status.tier.split(' (')[0]}, ${counted(audit)}`, proven);
  byId('node').textContent = status.node ?? '';
  put(byId('status'), title('Status'),
    el('dl', {},
      fact('Sees', el('strong', {}, status.tier), status.not_better.length > 0 && el('ul', { class: 'why' }, status.not_better.map((why) => el('li', {}, why)))),
      fact('Detection', mark(status.detecting && status.ready, 'ready', status.detecting ? 'starting' : 'does not answer')),
      // Told before the kernel's counter was read again: the next reading settles it.
      fact('Audit', !proven ? unproven() : audit.unexplained < 0 ? 'counting' : mark(audit.unexplained === 0, 'all kills explained', `${audit.unexplained} unexplained`),
        el('small', {}, `${audit.kernel ?? 'unknown'} by the kernel’s count, ${count(audit.kills, 'kill')} told, ${count(audit.repeats, 'repeat')}`)),
      fact('Losses', harm.size === 0 && mark(true, 'none'), lost.length > 0 && el('ul', { class: 'plain' }, lost.map(([name, many]) => el('li', { class: harm.has(name) ? 'bad' : 'muted' }, `${words(name)}: ${many.toLocaleString('en')}`))))),
    el('h3', {}, 'Sources'),
    el('ul', { class: 'plain' }, status.sources.map((source) => el('li', {}, source.up || source.wanted ? mark(source.up, source.name, source.name) : el('span', { class: 'muted' }, `– ${source.name}`), source.reason && el('small', {}, source.reason)))),
    el('h3', {}, 'Store'),
    el('p', {}, store ? [mark(store.waiting === 0, `${store.stored.toLocaleString('en')} stored`, `${store.waiting.toLocaleString('en')} wait for the disk`),
      el('small', { title: store.path }, `${store.path.split('/').pop()} · since the start${store.removed ? `; ${store.removed.toLocaleString('en')} removed by retention` : ''}`)] : 'none: only what happens now is shown'),
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

const WORDS = { silent: 'silent', blind: 'sees no kill', unexplained: 'unexplained kills', lossy: 'has lost something', failing: 'something fails', gone: 'stopped, and not come back', unproven: 'nothing can prove it', well: 'well', stopped: 'stopped' };

/** Of a fleet: its stream, and its nodes, those first whom somebody must look after, as the server sorts them. */
function nodes({ nodes: all, unreadable, trouble }, stream) {
  const isBad = (node) => !['unproven', 'well', 'stopped'].includes(node.state);
  const bad = all.filter(isBad);
  const { missed, unreadable: odd } = stream.counts;
  const behind = stream.behind > 0 ? `${count(stream.behind, 'message')} behind` : null;
  const troubles = [
    stream.trouble,
    !stream.ready && `the stream is being read${behind ? `, ${behind}` : ''}`,
    trouble,
    bad.length > 0 && `${count(bad.length, 'node')} in trouble`,
    missed > 0 && `${count(missed, 'message')} missed`,
    odd > 0 && `${count(odd, 'message')} not understood`,
    unreadable > 0 && `${count(unreadable, 'node')} not understood`,
  ];
  summary(troubles, [`${count(all.length, 'node')}, all well`, behind].filter(Boolean).join(', '));
  put(byId('status'), title('Nodes'),
    all.length === 0 && el('p', { class: 'muted' }, 'No node has been heard of.'),
    el('ul', { class: 'plain' }, all.slice(0, FIRST).map((node) => {
      const label = machine(node.heartbeat) ?? 'nameless';
      const said = [WORDS[node.state] ?? node.state, ...node.troubles.filter(isOpen).map((one) => one.what), `heard ${clock(node.heard)}`, node.heartbeat.tier];
      return el('li', {}, mark(!isBad(node), label, label), el('small', {}, said.filter(Boolean).join(' · ')));
    })),
    all.length > FIRST && el('p', { class: 'muted' }, `and ${all.length - FIRST} more`),
    unreadable > 0 && el('p', { class: 'bad' }, `✗ ${count(unreadable, 'node')} in words that are not understood`),
    trouble && el('p', { class: 'bad' }, `✗ ${trouble}`),
    el('h3', {}, 'Stream'),
    el('p', {}, mark(!stream.trouble && stream.ready, 'read', stream.trouble ?? 'is being read for the first time'), behind && el('small', {}, behind)),
    missed > 0 && el('p', { class: 'bad' }, `✗ ${count(missed, 'message')} dropped by the stream before they were read`),
    odd > 0 && el('p', { class: 'bad' }, `✗ ${count(odd, 'message')} in words that are not understood`),
    el('p', { class: 'muted small' }, `oom-agent ${stream.version}: ${count(stream.counts.stored, 'event')} stored since the start`));
}

/** More nodes than this are a count. */
const FIRST = 200;
