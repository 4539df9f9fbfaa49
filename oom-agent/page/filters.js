// What is asked for, to be seen and changed: kind and time have fields of their own, all else is a word with a name.

import { byId, el, put } from './dom.js';
import { CONDITIONS, asked, narrow, question } from './state.js';

/** Kinds of event, as they are asked for together. */
export const KINDS = {
  OomKill: 'Kills',
  OomInstance: 'Reports',
  OomStuck: 'Stuck victims',
  VictimEnd: 'Late ends',
  'ContainerCreation,ContainerDeletion': 'Containers',
};

const CHOICES = {
  scope: ['memcg', 'system', 'cpuset', 'mempolicy', 'sysrq'],
  backfill: ['true', 'false'],
};

/** Shows them as they are now. */
export function show() {
  const now = asked();
  const { kind } = question();
  const kinds = kind in KINDS ? KINDS : { ...KINDS, [kind]: kind };
  const chips = Object.keys(CONDITIONS).filter((name) => now[name]).map((name) => chip(name, now[name], now));
  const time = (name, label, hint) => el('label', {}, label, el('input', {
    name, value: now[name] ?? '', placeholder: hint, size: 12, spellcheck: 'false', autocomplete: 'off',
    onchange: (event) => narrow({ [name]: event.target.value.trim() }),
  }));
  // Kills do not tell what ran out.
  const turn = ({ target: { value } }) => narrow(value === 'OomKill' ? { kind: null, scope: null } : { kind: value });
  put(byId('filters'), 
    el('label', {}, 'Show', el('select', { name: 'kind', onchange: turn },
      Object.entries(kinds).map(([value, label]) => el('option', { value, selected: value === kind }, label)))),
    time('since', 'Since', 'ever (24h, 7d)'),
    time('until', 'Until', 'now'),
    adding(now),
    chips.length > 0 && el('ul', { class: 'chips', 'aria-label': 'Conditions' }, chips));
}

function chip(name, value, now) {
  const alone = name === 'cgroup' && now.subtree === 'false' ? ' alone' : '';
  const words = `${CONDITIONS[name]} ${value}${alone}`;
  const without = name === 'cgroup' ? { cgroup: null, subtree: null } : { [name]: null };
  return el('li', {}, el('span', { class: 'muted' }, CONDITIONS[name]), ` ${value}${alone} `,
    el('button', { type: 'button', 'aria-label': `Without ${words}`, onclick: () => narrow(without) }, '×'));
}

function adding(now) {
  const names = Object.entries(CONDITIONS).filter(([name]) => !now[name]);
  const value = el('input', { id: 'filter', 'aria-label': 'Value', placeholder: 'is exactly …  ( / )', spellcheck: 'false', autocomplete: 'off', list: 'choices' });
  const choices = el('datalist', { id: 'choices' });
  const name = el('select', {
    'aria-label': 'Condition',
    onchange: () => put(choices, ...(CHOICES[name.value] ?? []).map((one) => el('option', { value: one }))),
  }, names.map(([of, label]) => el('option', { value: of, selected: of === last }, label)));
  return el('form', {
    class: 'adding',
    onsubmit: (event) => {
      event.preventDefault();
      last = name.value;
      if (value.value.trim()) narrow({ [name.value]: value.value.trim() });
    },
  }, el('span', { class: 'label' }, 'Where'), name, value, choices, el('button', {}, 'Filter'));
}

let last = 'namespace';
