//! The workload of a pod, by the pod's name.
//!
//! Reads a name; emits what is left without what controllers append. Derived, and not more than that: names are all
//! that a node has. A name that nobody has made by these rules is its own workload.
//!
//! What is appended: a Deployment's `ReplicaSet` a hash of 8 to 10 characters and each pod five more; a
//! `DaemonSet` or Job five; a `CronJob`'s Job the minute of its start; a `StatefulSet` a number. Hashes and the five
//! are of an alphabet without vowels (`k8s.io/apimachinery/pkg/util/rand`).

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What is left.
#[must_use]
pub fn workload(pod: &str) -> &str {
    let by_chance = |of: &str| of.bytes().all(|byte| ALPHABET.contains(&byte));
    let number = |of: &str| !of.is_empty() && of.bytes().all(|byte| byte.is_ascii_digit());
    match pod.rsplit_once('-') {
        Some((above, last)) if last.len() == 5 && by_chance(last) => match above.rsplit_once('-') {
            Some((name, hash)) if (8..=10).contains(&hash.len()) && by_chance(hash) => name,
            Some((name, minute)) if minute.len() >= 8 && number(minute) => name,
            _ => above,
        },
        Some((name, ordinal)) if number(ordinal) => name,
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_controllers_append_is_taken_off() {
        for (pod, name) in [
            ("cart-6d4cf56db6-x2x9p", "cart"),
            ("cart-api-7f9c5b8d4-zk2lq", "cart-api"),
            ("fluent-bit-x2x9p", "fluent-bit"),
            ("backup-28123456-x2x9p", "backup"),
            ("redis-0", "redis"),
            ("redis-cache-12", "redis-cache"),
            ("my-nginx", "my-nginx"),
            ("single", "single"),
            ("kube-proxy-worker", "kube-proxy-worker"),
            ("-", "-"),
            ("", ""),
        ] {
            assert_eq!(workload(pod), name, "{pod}");
        }
    }

    proptest! {
        #[test]
        fn it_is_how_the_name_begins(pod in ".*") {
            prop_assert!(pod.starts_with(workload(&pod)));
        }
    }
}
