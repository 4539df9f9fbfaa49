// The tree above a victim: each level against its limit, and the one that was hit.

import { el, styled } from './dom.js';
import { UNKNOWN, bytes, count, named, short, words } from './units.js';

/** The levels from the node down, as a list. */
export function tree(report) {
  const levels = known(report);
  if (levels.length === 0) return el('p', { class: 'muted' }, 'No source told the cgroups of the victim.');
  const top = levels[0].cgroup.path;
  return [
    el('ol', { class: 'tree' }, levels.map((level, depth) => item(level, depth, report))),
    top !== '/' && el('p', { class: 'muted small' }, 'What is above is not known.'),
    report.levels?.length ? null : el('p', { class: 'muted small' }, 'Only the log told of this: usage is known at the limit alone.'),
  ];
}

/** What the report tells; where only the log spoke, the paths between the victim and the limit. */
function known(report) {
  if (report.levels?.length) return [...report.levels].reverse();
  const limit = report.limit;
  const path = report.kills[0]?.cgroup?.path ?? limit?.cgroup.path;
  if (!path) return [];
  const parts = path.split('/').filter(Boolean);
  const paths = ['/', ...parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`)];
  return paths.map((one) => ({ cgroup: { path: one }, level: null, usage_bytes: null, limit_bytes: null }));
}

const isSame = (one, other) => Boolean(one && other) && (one.path && other.path ? one.path === other.path : one.id !== null && one.id === other.id);

function item(level, depth, report) {
  const hit = isSame(level.cgroup, report.limit?.cgroup);
  const own = isSame(level.cgroup, report.kills[0]?.cgroup);
  // The limit is told as it stood when the kernel decided.
  const usage = hit ? report.limit.usage_bytes ?? level.usage_bytes : level.usage_bytes;
  const limit = hit ? report.limit.limit_bytes ?? level.limit_bytes : level.limit_bytes;
  const path = level.cgroup.path;
  const name = path === '/' ? '/' : path?.split('/').pop() ?? UNKNOWN;
  const known = calls(hit ? report.limit.level ?? level.level : level.level, report.kills[0]?.owner);
  const failed = hit ? report.limit.failcnt ?? level.failcnt : level.failcnt;
  return styled(el('li', { class: hit ? 'hit' : '' },
    el('div', { class: 'level' },
      el('span', { class: 'kind' }, words(hit ? report.limit.level ?? level.level : level.level)),
      known && el('strong', {}, known),
      el('span', { class: known ? 'name muted' : 'name', title: path ?? '' }, short(name)),
      own && el('span', { class: 'tag' }, 'the victim’s'),
      hit && el('strong', { class: 'tag bad' }, 'limit hit')),
    gauge(usage, limit, hit),
    failed > 0 && el('small', {}, `hit ${count(failed, 'time')} since it was made`)), '--depth', depth);
}

/** The name that a level has beside its cgroup's. */
function calls(level, owner) {
  if (level === 'pod') return owner?.pod?.name && named({ namespace: owner.pod.namespace, pod: owner.pod.name });
  return level === 'container' ? owner?.container_name : null;
}

function gauge(usage, limit, hit) {
  const of = limit === null || limit === undefined ? 'no limit' : `of ${bytes(limit)}`;
  if (usage === null || usage === undefined) return el('div', { class: 'gauge-words muted' }, limit ? `limit ${bytes(limit)}` : 'not known');
  if (!limit) return el('div', { class: 'gauge-words' }, `${bytes(usage)}, `, el('span', { class: 'muted' }, of));
  const share = usage / limit;
  const percent = Math.floor(share * 100);
  const meter = { class: hit ? 'bar over' : 'bar', role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.min(100, percent), 'aria-label': `${bytes(usage)} ${of}` };
  const bar = styled(el('span', meter), '--share', Math.min(1, share));
  return el('div', { class: 'gauge' }, bar, el('span', { class: 'gauge-words' }, `${bytes(usage)} `, el('span', { class: 'muted' }, of), ` ${percent} %`));
}
