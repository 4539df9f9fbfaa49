// Parts of a story: the victim and its end, who asked, what both sources said, processes, what memory was made of.

import { el, styled } from './dom.js';
import { process } from './rows.js';
import { UNKNOWN, bytes, clock, count, duration, held, short, words } from './units.js';

/** Names and values. */
export function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

const said = (value) => (value === null || value === undefined || value === '' ? UNKNOWN : String(value));

/** Who died, and of what. */
export function victim(kill) {
  const one = kill.victim;
  const memory = kill.memory;
  const parts = [['anonymous', memory.anon_bytes], ['file', memory.file_bytes], ['shared', memory.shmem_bytes], ['swapped out', memory.swap_bytes], ['page tables', memory.pgtables_bytes]];
  return facts([
    ['Process', process(one)],
    ['Program', one.exe],
    ['Command', one.cmdline],
    ['Parent', one.ppid ? `${one.parent_comm ?? UNKNOWN} (${one.ppid})` : null],
    ['User, threads', `uid ${said(one.uid)}, ${one.threads === null ? `threads ${UNKNOWN}` : count(one.threads, 'thread')}`],
    ['oom_score_adj', said(one.oom_score_adj)],
    ['Started', one.start_time ? clock(one.start_time) : null],
    ['Held', el('span', {}, el('strong', {}, bytes(held(memory))), el('small', {}, parts.filter(([, value]) => value !== null).map(([name, value]) => `${name} ${bytes(value)}`).join(' · ')))],
    ['Why it', words(kill.role)],
    ['Told after', kill.detection_latency_ns === null ? null : duration(kill.detection_latency_ns)],
    ['Its end', end(kill)],
  ]);
}

/** How it ended, as far as anybody knows. */
function end(kill) {
  const { end, reaper } = kill;
  const said = [];
  if (end?.exit_after_ns !== null && end?.exit_after_ns !== undefined) said.push(`gone ${end.at_most ? 'within' : 'after'} ${duration(end.exit_after_ns)}${end.exit_source ? `, by ${end.exit_source === 'bpf' ? 'eBPF' : 'its pidfd'}` : ''}`);
  else if (end?.still_alive) said.push('still there when this was told');
  if (end?.freed_after_ns) said.push(`${end.freed_bytes === null ? 'its memory' : bytes(end.freed_bytes)} given back after ${duration(end.freed_after_ns)}`);
  const reaped = { reaped: 'the reaper took its memory', unable: 'the reaper could not take its memory', not_needed: 'no reaper was needed' }[reaper];
  if (reaped) said.push(`${reaped}${end?.reaping_finished_after_ns ? ` within ${duration(end.reaping_finished_after_ns)}` : ''}${end?.reaping_left_bytes ? `, and left ${bytes(end.reaping_left_bytes)}` : ''}`);
  return said.length ? said.join('; ') : null;
}

/** A victim that did not end in time. */
export function stuck(event) {
  const thread = event.thread;
  return [
    el('p', {}, `It was still there ${duration(event.stuck_for_ns)} after the kernel had marked it.`),
    facts([
      ['Still holds', bytes(event.held_bytes)],
      ['Threads', event.threads === null ? null : `${event.threads}, ${event.uninterruptible ?? UNKNOWN} of them cannot be interrupted`],
      ['Sleeps in', thread && `${thread.wchan ?? UNKNOWN} (state ${thread.state}, thread ${thread.tid})`],
    ]),
    thread?.kernel_stack?.length > 0 && trace('Its kernel stack', thread.kernel_stack),
  ];
}

const trace = (name, functions) => el('details', {}, el('summary', {}, `${name} (${count(functions.length, 'function')})`), el('ol', { class: 'trace' }, functions.map((one) => el('li', {}, el('code', {}, one)))));

/** Who asked for memory. */
export function trigger(report) {
  const one = report.trigger;
  if (!one) return el('p', { class: 'muted' }, 'No source told who asked for the memory.');
  const own = report.kills.some((kill) => kill.victim.tid === one.tid || (one.pid !== null && kill.victim.pid === one.pid));
  const order = one.order === null ? null : one.order < 0 ? 'sysrq-f' : `${2 ** one.order} ${one.order === 0 ? 'page' : 'pages'} (order ${one.order})`;
  return [
    facts([
      ['Process', `${said(one.comm)} (${one.pid ?? `thread ${said(one.tid)}`})${own ? ', the victim itself' : ''}`],
      ['Wanted', [words(one.allocation), order].filter((word) => word && word !== UNKNOWN).join(', ') || UNKNOWN],
      ['Flags', one.gfp_flags ?? (one.gfp_mask === null ? null : `0x${one.gfp_mask.toString(16)}`)],
      ['Its cgroup', one.cgroup && el('code', { title: one.cgroup }, short(one.cgroup))],
      ['CPU', one.cpu],
    ]),
    one.call_trace?.length > 0 && trace('Call trace', one.call_trace),
  ];
}

/** What each source said. */
export function sources(report) {
  const check = report.crosscheck;
  const counted = (kills) => (kills === null ? 'was down' : count(kills, 'kill'));
  return [
    facts([
      ['eBPF', counted(check.bpf_kills)],
      ['Kernel log', `${counted(check.kmsg_kills)}; its report: ${words(check.kmsg_report)}${check.repeats ? `; ${count(check.repeats, 'repeat')}` : ''}`],
      ['Limit known by', report.limit ? words(report.limit.source) : null],
      ['Kernel', report.kernel],
      ['Open for', report.open_for_ns === null ? null : duration(report.open_for_ns)],
    ]),
    check.mismatches.length === 0
      ? el('p', { class: 'good' }, check.bpf_kills && check.kmsg_kills ? '✓ They agree.' : '')
      : el('div', { class: 'scroll' }, el('table', { class: 'small' },
        el('caption', {}, 'Where they differ'),
        el('thead', {}, el('tr', {}, ['Field', 'eBPF', 'Log'].map((name) => el('th', { scope: 'col' }, name)))),
        el('tbody', {}, check.mismatches.map((one) => el('tr', {}, el('th', { scope: 'row' }, one.field), el('td', {}, JSON.stringify(one.bpf)), el('td', {}, JSON.stringify(one.kmsg))))))),
  ];
}

const FIRST = 20;

/** The processes, the largest first. */
export function processes(report) {
  if (report.tasks.length === 0) return el('p', { class: 'muted' }, 'Nobody told which processes there were.');
  const victims = new Set(report.kills.flatMap((kill) => [kill.victim.pid, kill.victim.tid]));
  const all = [...report.tasks].sort((a, b) => b.rss_bytes - a.rss_bytes);
  const body = el('tbody', {}, all.slice(0, FIRST).map((task) => line(task, victims)));
  const more = all.length > FIRST && el('button', { type: 'button', class: 'quiet', onclick: () => { body.append(...all.slice(FIRST).map((task) => line(task, victims))); more.remove(); } }, `All ${all.length}`);
  const from = report.tasks_source === 'kmsg' ? 'The kernel’s table, of the moment of the kill' : 'Read right after the kill: what was left';
  return [
    el('div', { class: 'scroll' }, el('table', { class: 'small' },
      el('caption', {}, `${from}${report.tasks_dropped ? `; ${count(report.tasks_dropped, 'row')} are missing` : ''}.`),
      el('thead', {}, el('tr', {}, ['Process', 'pid', 'uid', 'Resident', 'Swap', 'Page tables', 'Address space', 'adj'].map((name, at) => el('th', { scope: 'col', class: at ? 'number' : '' }, name)))),
      body)),
    more];
}

function line(task, victims) {
  const died = victims.has(task.tgid) || victims.has(task.pid);
  const cells = [task.tgid, task.uid, bytes(task.rss_bytes), bytes(task.swap_bytes), bytes(task.pgtables_bytes), bytes(task.total_vm_bytes), task.oom_score_adj];
  return el('tr', { class: died ? 'died' : '' }, el('th', { scope: 'row' }, task.comm || UNKNOWN, died && el('span', { class: 'tag bad' }, 'killed')), cells.map((cell) => el('td', { class: 'number' }, cell)));
}

const PARTS = { anon_bytes: 'anonymous', file_bytes: 'page cache', shmem_bytes: 'of it tmpfs and shared', kernel_bytes: 'kernel', slab_reclaimable_bytes: 'slab, can be given back', slab_unreclaimable_bytes: 'slab, cannot', pagetables_bytes: 'page tables', kernel_stack_bytes: 'kernel stacks', sock_bytes: 'socket buffers', swap_bytes: 'swapped out' };

/** What the memory of the limit was made of. */
export function made(report) {
  const memory = report.limit_memory;
  if (!memory) return null;
  const parts = Object.entries(PARTS).filter(([name]) => memory.stat[name] > 0);
  if (parts.length === 0) return null;
  const most = Math.max(memory.memory?.usage_bytes ?? 0, ...parts.map(([name]) => memory.stat[name]));
  return el('table', { class: 'small made' },
    el('caption', {}, report.limit_memory_source === 'kmsg' ? 'Of the moment of the kill.' : 'Read right after the kill: what was left.'),
    el('tbody', {}, parts.map(([name, label]) => el('tr', {}, el('th', { scope: 'row' }, label),
      el('td', { 'aria-hidden': 'true' }, styled(el('span', { class: 'bar' }), '--share', memory.stat[name] / most)), el('td', { class: 'number' }, bytes(memory.stat[name]))))));
}
