// What numbers and names are called. Unknown is a dash, never 0.

export const UNKNOWN = '–';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes, to three digits. */
export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  let unit = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 100 ? 0 : rest >= 10 ? 1 : 2;
  return `${rest.toFixed(digits).replace(/\.0+$/, '')} ${UNITS[unit]}`;
}

/** A duration in nanoseconds. */
export function duration(ns) {
  if (ns === null || ns === undefined) return UNKNOWN;
  const size = Math.abs(ns);
  const said = (value, unit) => `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))} ${unit}`;
  if (size < 1e3) return said(size, 'ns');
  if (size < 1e6) return said(size / 1e3, 'µs');
  if (size < 1e9) return said(size / 1e6, 'ms');
  if (size < 120e9) return said(size / 1e9, 's');
  if (size < 7200e9) return said(size / 60e9, 'min');
  if (size < 172_800e9) return said(size / 3600e9, 'h');
  return said(size / 86_400e9, 'd');
}

const two = (value) => String(value).padStart(2, '0');

/** A time as it is here, to the second. */
export function clock(time) {
  if (!time) return UNKNOWN;
  const at = new Date(time);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

const SECOND = 1_000_000_000n;

/** Nanoseconds since the epoch. */
function nanoseconds(time) {
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? '';
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) / 1000n * SECOND + BigInt(fraction.padEnd(9, '0'));
}

/** The last nanosecond before all of these times. */
export function justBefore(times) {
  const all = times.map((time) => nanoseconds(time));
  const before = all.reduce((one, other) => (other < one ? other : one)) - 1n;
  const whole = new Date(Number(before / SECOND) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(before % SECOND).padStart(9, '0')}Z`;
}

/** The same in short, where the whole span is so long (milliseconds). */
export function tick(time, span) {
  const said = clock(time);
  if (span < 10 * 60e3) return said.slice(11);
  return span < 36 * 3600e3 ? said.slice(11, 16) : said.slice(5, 16);
}

/** An id of a container in short, wherever it stands in a name. */
export const short = (name) => name.replace(/[0-9a-f]{64}/g, (id) => `${id.slice(0, 12)}…`);

/** A count with its word. */
export function count(value, one, many = `${one}s`) {
  return `${value.toLocaleString('en')} ${value === 1 ? one : many}`;
}

/** `a_page_fault` as words. */
export const words = (name) => (name ? String(name).replaceAll('_', ' ') : UNKNOWN);

/** An owner in a few words, by the conditions that find it. */
export function named(of) {
  if (of.pod) {
    const pod = of.namespace ? `${of.namespace}/${of.pod}` : of.pod;
    return of.container ? `${pod} · ${of.container}` : pod;
  }
  const container = of.container;
  if (container) return /^[0-9a-f]{64}$/.test(container) ? container.slice(0, 12) : container;
  if (of.workload) return of.namespace ? `${of.namespace}/${of.workload}` : of.workload;
  return of.unit ?? of.cgroup ?? of.namespace ?? of.comm ?? machine(of) ?? 'nobody who is known';
}

/** A node with its cluster, or the cluster alone. */
export const machine = ({ node, cluster }) => [cluster, node].filter(Boolean).join('/') || null;

/** The conditions that find what has the owner of this kill or container, and nothing else; null if it has no name at
 * all. A pod is one in its cluster, all else on its node. */
export function conditions({ owner, cgroup, node, cluster }) {
  const pod = owner?.pod;
  if (pod) {
    return given({ namespace: pod.namespace, pod: pod.name ?? pod.uid, container: owner.container_name, cluster });
  }
  const container = owner?.container_name ?? owner?.container_id;
  if (container) return given({ container, node, cluster });
  if (owner?.unit) return given({ unit: owner.unit, node, cluster });
  return cgroup?.path ? given({ ...alone(cgroup.path), node, cluster }) : null;
}

/** A cgroup without those below it. */
export const alone = (cgroup) => ({ cgroup, subtree: 'false' });

/** Only what is given. */
export function given(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null && value !== undefined && value !== ''));
}

/** What a process held, if all parts are known. */
export function held(memory) {
  const parts = [memory?.anon_bytes, memory?.file_bytes, memory?.shmem_bytes];
  return parts.every((part) => typeof part === 'number') ? parts.reduce((sum, part) => sum + part, 0) : null;
}
