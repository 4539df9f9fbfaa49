// What is asked, all of it in the address: the store's conditions by their names, and which story is open.

/** Conditions, as the API has them, with what a person calls them. */
export const CONDITIONS = {
  namespace: 'namespace',
  pod: 'pod',
  container: 'container',
  workload: 'workload',
  unit: 'unit',
  comm: 'process name',
  pid: 'pid',
  cgroup: 'cgroup',
  image: 'image',
  node: 'node',
  cluster: 'cluster',
  scope: 'scope',
  boot: 'boot',
  backfill: 'history',
};

/** Conditions that have controls of their own. */
const OTHERS = ['since', 'until', 'kind', 'subtree'];

/** What the timeline is by, beside the conditions. */
const BY = 'by';

/** Conditions as they are in the address, and `by`. */
export function asked() {
  const known = [...Object.keys(CONDITIONS), ...OTHERS, BY];
  const pairs = [...new URLSearchParams(location.search)];
  return Object.fromEntries(pairs.filter(([name, value]) => known.includes(name) && value !== ''));
}

/** The question to the store. What ran out is told by reports alone. */
export function question() {
  const { by: _, ...conditions } = asked();
  if (conditions.subtree && !conditions.cgroup) delete conditions.subtree;
  return { kind: conditions.scope ? 'OomInstance' : 'OomKill', ...conditions };
}

/** The same for counts: of kills, whatever the table shows, and without what only reports tell. */
export function counted() {
  const { kind: _kind, scope: _scope, ...conditions } = question();
  return conditions;
}

/** Which story is open: `{ kind: 'kill' | 'report' | 'event', id }`, or null. */
export function story() {
  const found = /^#\/(kill|report|event)\/(.+)$/.exec(location.hash);
  try {
    return found && { kind: found[1], id: decodeURIComponent(found[2]) };
  } catch {
    return null;
  }
}

/** Where the story of an event is: of what came of a kill, that of the kill. */
export function storyOf(event) {
  if (event.kill) return storyOf({ kind: 'OomKill', id: event.kill.id });
  const kind = { OomKill: 'kill', OomInstance: 'report' }[event.kind] ?? 'event';
  return `#/${kind}/${encodeURIComponent(event.id)}`;
}

/** The address that asks this. */
export function address(conditions, hash = '') {
  const query = new URLSearchParams(conditions).toString();
  return `${location.pathname}${query ? `?${query}` : ''}${hash}`;
}

/** Asks something else; the back button comes back. */
export function ask(conditions) {
  history.pushState(null, '', address(conditions));
  dispatchEvent(new Event('asked'));
}

/** Adds conditions; one that is null or empty is taken out. */
export function narrow(conditions) {
  const all = { ...asked(), ...conditions };
  ask(Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null && value !== '')));
}
