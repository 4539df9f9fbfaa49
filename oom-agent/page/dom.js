// Makes elements. Text is only ever set as text: names of victims are hostile.

const SVG = 'http://www.w3.org/2000/svg';

/** An element of HTML: attributes (`on…`: a listener) and children (text or nodes). */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...real(children));
  return node;
}

const real = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Puts these children in place of those that there are. */
export function put(node, ...children) {
  node.replaceChildren(...real(children));
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Writes a value into a style; a policy without inline styles allows that. */
export function styled(node, name, value) {
  node.style.setProperty(name, value);
  return node;
}
