//! What the tests run in the page, to look at it or to stand in its way.

use serde_json::Value;

/// Ids of the rows, in their order.
pub(crate) const IDS: &str =
    "return [...document.querySelectorAll('#rows tr')].map((row) => row.dataset.id)";

/// Notes when rows come: milliseconds after the kill.
pub(crate) const WATCH: &str = "window.latest = {};
    new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => {
      if (node.dataset?.id) window.latest[node.dataset.id] = Date.now() - Number(node.dataset.at ?? NaN);
    }))).observe(document.getElementById('list'), { childList: true, subtree: true });";

/// Holds back answers of addresses with `window.late` in them, until `window.release()`.
pub(crate) const LATE: &str = "const ask = window.fetch;
    window.held = 0;
    window.passed = 0;
    const gate = new Promise((resolve) => { window.release = resolve; });
    window.fetch = async (url, options) => {
      const answer = await ask(url, options);
      if (window.late && String(url).includes(window.late)) {
        window.held += 1;
        await gate;
        window.passed += 1;
      }
      return answer;
    };";

/// A browser that keeps nothing.
pub(crate) const BLOCKED: &str =
    "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {
      get() { throw new DOMException('blocked', 'SecurityError'); } });";

/// Controls without a name, and pictures without one.
pub(crate) const NAMELESS: &str = "const named = (node) => node.getAttribute('aria-label') || node.textContent.trim()
      || [...(node.labels ?? [])].some((label) => label.textContent.trim())
      || document.getElementById(node.getAttribute('aria-labelledby')?.split(' ')[0])?.textContent;
    return [...document.querySelectorAll('button, a, input, select, summary, svg[role=img], [role=meter], [role=region], dialog')]
      .filter((node) => !named(node)).map((node) => node.outerHTML.slice(0, 200))";

/// Texts among values that a script gave.
pub(crate) fn words(values: &[Value]) -> Vec<&str> {
    values.iter().filter_map(Value::as_str).collect()
}
