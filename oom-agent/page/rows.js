// One event as a row of the table.

import { el } from './dom.js';
import { asked, narrow, storyOf } from './state.js';
import { UNKNOWN, bytes, clock, conditions, count, duration, held, named, words } from './units.js';

/** Heads of the columns. */
export const COLUMNS = ['Time', 'What', 'Owner', 'Memory', 'Why', 'Seen by'];

/** A row. */
export function row(event) {
  const cells = (of[event.kind] ?? other)(event);
  const link = el('a', { href: storyOf(event), class: 'open' }, cells.what);
  return el('tr', { 'data-id': event.id, 'data-kind': event.kind, onclick: (click) => { if (!click.target.closest('a, button')) link.click(); } },
    el('td', { class: 'time', title: event.time ?? '' }, clock(event.time)),
    el('th', { scope: 'row' }, link, event.backfill && el('span', { class: 'tag', title: 'Read back from the log of before the agent watched' }, 'history')),
    el('td', { class: 'owner' }, owner(cells.owner, cells.cgroup, event)),
    el('td', { class: 'number' }, cells.memory),
    el('td', {}, cells.why),
    el('td', { class: 'muted' }, cells.seen));
}

/** Who died, in short: also for those who only listen. */
export function title(event) {
  return (of[event.kind] ?? other)(event).what;
}

/** A process by name and number. */
export function process(victim) {
  return `${victim?.comm || UNKNOWN} (${victim?.pid ?? `thread ${victim?.tid ?? UNKNOWN}`})`;
}

/** Its owner, in words. */
export function ownerWords(event) {
  const kill = event.kill ?? event.kills?.[0] ?? event;
  const found = conditions(kill);
  return found ? named(found) : UNKNOWN;
}

function owner(owner, cgroup, event) {
  const found = conditions({ ...event, owner, cgroup });
  if (!found) return UNKNOWN;
  const several = event.kills?.length > 1 ? ` and ${event.kills.length - 1} more` : '';
  return [el('button', { type: 'button', class: 'link', title: `Only these: ${cgroup?.path ?? ''}`, onclick: () => narrow({ ...asked(), ...found }) }, named(found)), several];
}

const both = (check) => [check.bpf_kills > 0 && 'eBPF', (check.kmsg_kills > 0 || ['full', 'partial'].includes(check.kmsg_report)) && 'log'].filter(Boolean).join(' + ') || UNKNOWN;

const of = {
  OomKill: (kill) => ({
    what: process(kill.victim),
    owner: kill.owner,
    cgroup: kill.cgroup,
    memory: bytes(held(kill.memory)),
    why: words(kill.role),
    seen: kill.evidence.map((source) => (source === 'bpf' ? 'eBPF' : 'log')).join(' + '),
  }),
  OomInstance: (report) => {
    const [first] = report.kills;
    return {
      what: first ? `${process(first.victim)}${report.kills.length > 1 ? ` and ${count(report.kills.length - 1, 'more', 'more')}` : ''}` : words(report.outcome),
      owner: first?.owner,
      cgroup: first?.cgroup ?? report.limit?.cgroup,
      memory: bytes(report.limit?.limit_bytes),
      why: report.limit?.level ? `limit of the ${report.limit.level}` : words(report.scope),
      seen: both(report.crosscheck),
    };
  },
  OomStuck: (stuck) => ({ ...of.OomKill(stuck.kill), memory: bytes(stuck.held_bytes), why: `still there after ${duration(stuck.stuck_for_ns)}` }),
  VictimEnd: (end) => ({ ...of.OomKill(end.kill), why: `ended after ${duration(end.kill.end?.exit_after_ns)}` }),
  ContainerCreation: (made) => ({ ...container(made), why: made.late ? 'created, found late' : 'created' }),
  ContainerDeletion: (gone) => ({ ...container(gone), why: gone.exit_code < 0 ? 'removed' : `removed, exit ${gone.exit_code}` }),
};

const container = (event) => ({ what: event.owner.container_name ?? event.owner.unit ?? event.cgroup.path ?? UNKNOWN, owner: event.owner, cgroup: event.cgroup, memory: UNKNOWN, seen: 'cgroups' });

const other = (event) => ({
  what: event.victim ? process(event.victim) : event.id,
  owner: event.owner,
  cgroup: event.cgroup,
  memory: UNKNOWN,
  why: event.kind,
  seen: UNKNOWN,
});
