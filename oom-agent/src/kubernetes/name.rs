//! Names that Kubernetes takes, and those of events.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>. Pure.

/// Bytes of the name of an event (a DNS subdomain).
const MOST: usize = 253;

/// Bytes of the name of a namespace (a DNS label).
const LABEL: usize = 63;

/// Whether this can be the name of a pod, a node, an event.
pub(super) fn is_subdomain(name: &str) -> bool {
    name.len() <= MOST && name.split('.').all(is_part)
}

/// Whether this can be the name of a namespace.
pub(super) fn is_label(name: &str) -> bool {
    name.len() <= LABEL && is_part(name)
}

fn is_part(part: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let ends = (part.bytes().next(), part.bytes().next_back());
    matches!(ends, (Some(first), Some(last)) if plain(first) && plain(last))
        && part.bytes().all(|byte| plain(byte) || byte == b'-')
}

/// The name of the event on an object, of this id: as much of the object's name as there is room for, and all
/// of the id. Another id gives another name.
pub(super) fn of_event(object: &str, mark: &str, id: &str) -> String {
    let id = plain(id);
    let room = MOST.saturating_sub(mark.len() + id.len() + 1);
    let object = object.get(..room).unwrap_or(object);
    let object = object.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if object.is_empty() {
        return format!("{mark}{id}");
    }
    format!("{object}.{mark}{id}")
}

/// The id, where it is as the agent's own are: lower case, digits and dashes. Of any other one its bytes.
fn plain(id: &str) -> String {
    if is_part(id) && id.len() < MOST / 2 && !id.starts_with('x') {
        return id.to_owned();
    }
    let bytes = id.bytes().take(MOST / 4);
    bytes.fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for name in ["a", "cart-0", "node-1.example.com", "0"] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in ["", "-a", "a-", "a..b", "a.", "A", "a_b", "a/b", "..", "ä"] {
            assert!(!is_subdomain(name), "{name}");
        }
        assert!(is_label("kube-system"));
        assert!(!is_label("a.b"));
        assert!(!is_label(&"a".repeat(64)));
        assert!(!is_subdomain(&"a".repeat(254)));
    }

    #[test]
    fn an_event_has_the_id_in_its_name() {
        let id = "4f3b9a52-7d3a-4f55-9a61-0b7f4c1de911-17498-81920000000";
        assert_eq!(of_event("cart-0", "", id), format!("cart-0.{id}"));
        assert_eq!(of_event("n", "system-", id), format!("n.system-{id}"));
    }

    proptest! {
        #[test]
        fn any_id_gives_a_name_that_is_taken(object in "[a-z0-9]{1,9}([-.][a-z0-9]{1,9}){0,24}", id in ".{0,300}") {
            prop_assume!(is_subdomain(&object));
            let name = of_event(&object, "system-", &id);
            prop_assert!(is_subdomain(&name), "{name}");
        }

        #[test]
        fn other_ids_give_other_names(a in "[-a-zA-Z0-9]{1,60}", b in "[-a-zA-Z0-9]{1,60}") {
            prop_assume!(a != b);
            prop_assert_ne!(of_event("pod", "", &a), of_event("pod", "", &b));
        }
    }
}
