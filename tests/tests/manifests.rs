//! The manifests and the chart of `packaging/`: what they make are objects of Kubernetes without a field that
//! it does not know, and the agent takes the arguments that they give it.
//!
//! `cargo test -p oom-tests --test manifests`, as anybody. The chart's templates use no more of Go's language
//! and of Helm's functions than is written here.

#![cfg(not(target_env = "musl"))]

use std::{collections::HashMap, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, anyhow, ensure};
use gtmpl::{Context, FuncError, Template, Value as Go};
use k8s_openapi::{
    Resource,
    api::{
        apps::v1::DaemonSet,
        core::v1::{Namespace, ResourceQuota, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    serde::{Serialize, de::DeserializeOwned},
};
use oom_tests::machine;
use serde_json::{Value, json};

const CHART: &str = "helm/oom-agent";

fn read(file: &str) -> Result<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    fs::read_to_string(root.join(file)).with_context(|| file.to_owned())
}

fn yaml(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).with_context(|| text.to_owned())
}

/// The objects of a file, of which some may be empty.
fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = text.split("\n---\n").map(yaml);
    let documents: Vec<Value> = documents.collect::<Result<_>>()?;
    Ok(documents.into_iter().filter(|it| !it.is_null()).collect())
}

/// An object without the fields that are null.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The object as a type of Kubernetes; an error if that does not know all of it.
fn strictly<T: DeserializeOwned + Serialize>(object: &Value) -> Result<T> {
    let typed: T = serde_json::from_value(object.clone()).with_context(|| object.to_string())?;
    let (known, given) = (serde_json::to_value(&typed)?, without_nulls(object));
    unknown("", &given, &known)?;
    Ok(typed)
}

fn unknown(path: &str, given: &Value, known: &Value) -> Result<()> {
    match (given, known) {
        (Value::Object(given), known) => given
            .iter()
            // What is empty may be left out.
            .filter(|(_, value)| **value != json!({}) && **value != json!([]))
            .try_for_each(|(name, value)| unknown(&format!("{path}.{name}"), value, &known[name])),
        (Value::Array(given), known) => given
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| unknown(&format!("{path}[{at}]"), value, &known[at])),
        (given, known) => {
            ensure!(given == known, "{path}: {given} is {known} to Kubernetes");
            Ok(())
        }
    }
}

/// All objects of one kind, strictly.
fn of_kind<T: Resource + DeserializeOwned + Serialize>(objects: &[Value]) -> Result<Vec<T>> {
    let is_it = |it: &&Value| it["kind"] == T::KIND && it["apiVersion"] == T::API_VERSION;
    objects.iter().filter(is_it).map(strictly).collect()
}

/// What there is of an agent, whatever it was made from.
struct Made {
    daemons: DaemonSet,
    quotas: Vec<ResourceQuota>,
    accounts: Vec<ServiceAccount>,
    roles: Vec<ClusterRole>,
    bindings: Vec<ClusterRoleBinding>,
}

impl Made {
    fn of(objects: &[Value]) -> Result<Self> {
        let namespaces: Vec<Namespace> = of_kind(objects)?;
        let mut made = Self {
            daemons: of_kind(objects)?.pop().context("no DaemonSet")?,
            quotas: of_kind(objects)?,
            accounts: of_kind(objects)?,
            roles: of_kind(objects)?,
            bindings: of_kind(objects)?,
        };
        let all = 1 + made.quotas.len() + made.accounts.len() + made.roles.len();
        let all = all + made.bindings.len();
        ensure!(all + namespaces.len() == objects.len(), "{objects:#?}");
        made.fits_together()?;
        made.roles.truncate(1);
        Ok(made)
    }

    /// One name does not lead nowhere.
    fn fits_together(&self) -> Result<()> {
        let spec = &self.daemons.spec;
        let pod = spec.template.spec.as_ref().context("pod")?;
        let labels = spec
            .template
            .metadata
            .as_ref()
            .and_then(|it| it.labels.as_ref());
        for (label, value) in spec.selector.match_labels.iter().flatten() {
            ensure!(
                labels.and_then(|it| it.get(label)) == Some(value),
                "{label}"
            );
        }
        // Without a quota for its priority a cluster may refuse all pods outside of kube-system.
        let quota = self.quotas.first().context("no quota")?;
        ensure!(quota.metadata.namespace == self.daemons.metadata.namespace);
        let scope = json!(quota.spec)["scopeSelector"]["matchExpressions"][0].clone();
        ensure!(
            scope["values"] == json!([pod.priority_class_name]),
            "{scope}"
        );
        ensure!(pod.containers[0].liveness_probe.is_some());
        if let Some(account) = self.accounts.first() {
            ensure!(pod.service_account_name == account.metadata.name);
            ensure!(account.metadata.namespace == self.daemons.metadata.namespace);
        }
        for binding in &self.bindings {
            let subject = binding
                .subjects
                .iter()
                .flatten()
                .next()
                .context("subject")?;
            ensure!(Some(subject.name.as_str()) == pod.service_account_name.as_deref());
            ensure!(subject.namespace == self.daemons.metadata.namespace);
            let role = self.roles.first().context("role")?;
            ensure!(role.metadata.name.as_deref() == Some(binding.role_ref.name.as_str()));
        }
        let volumes = pod.volumes.iter().flatten().map(|it| it.name.as_str());
        let volumes: Vec<&str> = volumes.collect();
        let mounts = pod.containers[0].volume_mounts.iter().flatten();
        let mounts: Vec<&str> = mounts.map(|it| it.name.as_str()).collect();
        ensure!(volumes == mounts, "{volumes:?} {mounts:?}");
        Ok(())
    }

    fn args(&self) -> Vec<String> {
        let pod = self.daemons.spec.template.spec.as_ref();
        let args = pod.and_then(|pod| pod.containers[0].args.clone());
        args.unwrap_or_default()
    }

    fn rules(&self) -> Value {
        json!(self.roles.first().map(|role| &role.rules))
    }
}

/// What of JSON the templates can see.
fn go(value: &Value) -> Go {
    match value {
        Value::Null => Go::Nil,
        Value::Bool(yes) => Go::Bool(*yes),
        Value::Number(number) => Go::from(number.as_i64().unwrap_or_default()),
        Value::String(text) => Go::from(text.as_str()),
        Value::Array(items) => Go::Array(items.iter().map(go).collect()),
        Value::Object(fields) => Go::Map(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), go(value)))
                .collect::<HashMap<_, _>>(),
        ),
    }
}

fn json_of(value: &Go) -> Value {
    match value {
        Go::Bool(yes) => json!(yes),
        Go::String(text) => json!(text),
        Go::Number(number) => json!(number.as_i64()),
        Go::Array(items) => items.iter().map(json_of).collect(),
        Go::Map(fields) | Go::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), json_of(value)))
            .collect(),
        _ => Value::Null,
    }
}

fn one(args: &[Go]) -> Result<&Go, FuncError> {
    let missing = || FuncError::AtLeastXArgs("a function".to_owned(), 1);
    args.first().ok_or_else(missing)
}

fn quote(args: &[Go]) -> Result<Go, FuncError> {
    let text = match one(args)? {
        Go::String(text) => text.clone(),
        other => json_of(other).to_string(),
    };
    Ok(Go::from(json!(text).to_string()))
}

fn to_json(args: &[Go]) -> Result<Go, FuncError> {
    Ok(Go::from(json_of(one(args)?).to_string()))
}

/// `value | default other`.
fn default(args: &[Go]) -> Result<Go, FuncError> {
    let value = args.last().filter(|value| match value {
        Go::String(text) => !text.is_empty(),
        Go::Nil | Go::NoValue => false,
        _ => true,
    });
    value.map_or_else(|| one(args).cloned(), |value| Ok(value.clone()))
}

/// The chart's objects, for values that differ from its own in this.
fn rendered(change: Value) -> Result<Made> {
    let mut values = yaml(&read(&format!("{CHART}/values.yaml"))?)?;
    merge(&mut values, change);
    validator()?
        .validate(&values)
        .map_err(|error| anyhow!("{error}: {values}"))?;
    let chart = yaml(&read(&format!("{CHART}/Chart.yaml"))?)?;
    let dot = json!({
        "Values": values,
        "Release": {"Name": "watch", "Namespace": "monitoring", "Service": "Helm"},
        "Chart": {"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
    });
    let mut made = Vec::new();
    for file in ["quota.yaml", "rbac.yaml", "daemonset.yaml", "NOTES.txt"] {
        let mut template = Template::default();
        template.add_func("quote", quote);
        template.add_func("toJson", to_json);
        template.add_func("default", default);
        let text = read(&format!("{CHART}/templates/{file}"))?;
        let failed = |error: &dyn std::fmt::Display| anyhow!("{file}: {error}");
        template.parse(text).map_err(|error| failed(&error))?;
        let text = template.render(&Context::from(go(&dot)));
        let text = text.map_err(|error| failed(&error))?;
        if file != "NOTES.txt" {
            made.extend(objects(&text)?);
        }
    }
    Made::of(&made)
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

fn validator() -> Result<jsonschema::Validator> {
    let schema = serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))?)?;
    jsonschema::draft7::meta::validate(&schema).map_err(|error| anyhow!("{error}"))?;
    jsonschema::draft7::new(&schema).map_err(|error| anyhow!("{error}"))
}

/// Fails unless the agent has all these options.
fn takes(args: &[String]) -> Result<()> {
    let help = Command::new(machine::agent_binary()?)
        .args(["run", "--help"])
        .output()?;
    let help = String::from_utf8(help.stdout)?;
    let options = args.iter().filter(|arg| arg.starts_with("--"));
    for option in options {
        let name = option.split('=').next().unwrap_or_default();
        let is_there = help.split_whitespace().any(|word| word == name);
        ensure!(is_there, "{name} is no option of `run`");
    }
    Ok(())
}

#[test]
fn the_manifests_are_what_kubernetes_takes() -> Result<()> {
    let made = Made::of(&objects(&read("kubernetes/oom-agent.yaml")?)?)?;
    ensure!(made.accounts.len() == 1 && made.bindings.len() == 1);
    // What the agent asks for, and no more.
    let rules = json!([{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]);
    ensure!(made.rules() == rules, "{}", made.rules());
    takes(&made.args())
}

/// What is deleted leaves programs in the kernel of every node: whoever reads either is told how they go.
#[test]
fn how_to_remove_all_of_it_is_said() -> Result<()> {
    for file in [
        "kubernetes/oom-agent.yaml",
        "helm/oom-agent/templates/NOTES.txt",
    ] {
        ensure!(
            read(file)?.contains(r#" exec "$pod" -- /oom-agent cleanup --force"#),
            "{file}"
        );
    }
    let help = Command::new(machine::agent_binary()?)
        .args(["cleanup", "--help"])
        .output()?;
    ensure!(String::from_utf8(help.stdout)?.contains("--force"));
    Ok(())
}

#[test]
fn the_chart_makes_what_the_manifests_are() -> Result<()> {
    let plain = Made::of(&objects(&read("kubernetes/oom-agent.yaml")?)?)?;
    let chart = rendered(json!({}))?;
    ensure!(plain.args() == chart.args());
    ensure!(plain.rules() == chart.rules());
    let container = |made: &Made| {
        let daemons = json!(made.daemons);
        daemons["spec"]["template"]["spec"]["containers"].clone()
    };
    ensure!(
        container(&plain) == container(&chart),
        "{:#}",
        container(&chart)
    );
    let volumes = |made: &Made| json!(made.daemons)["spec"]["template"]["spec"]["volumes"].clone();
    ensure!(volumes(&plain) == volumes(&chart));
    Ok(())
}

#[test]
fn every_value_of_the_chart_has_its_place() -> Result<()> {
    let made = rendered(json!({
        "image": {"repository": "registry.example/oom-agent", "tag": "1.2"},
        "imagePullSecrets": ["pull"],
        "listen": {"enabled": true, "tlsSecret": "tls", "tokenSecret": "token"},
        "extraArgs": ["--keep-days=7"],
        "podLabels": {"team": "storage"},
        "podAnnotations": {"example.com/a": "yes: \"b\""},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "maxUnavailable": 3,
    }))?;
    takes(&made.args())?;
    let args = made.args();
    ensure!(
        args.contains(&"--tls-cert=/tls/tls.crt".to_owned()),
        "{args:?}"
    );
    ensure!(args.contains(&"--keep-days=7".to_owned()), "{args:?}");
    // Of both families: in a cluster of IPv6 alone the probe comes by that.
    ensure!(args.contains(&"--listen=[::]:9095".to_owned()), "{args:?}");
    let daemons = json!(made.daemons);
    let pod = &daemons["spec"]["template"];
    ensure!(pod["metadata"]["annotations"]["example.com/a"] == "yes: \"b\"");
    ensure!(pod["metadata"]["labels"]["team"] == "storage");
    let pod = &pod["spec"];
    ensure!(pod["containers"][0]["image"] == "registry.example/oom-agent:1.2");
    let container = &pod["containers"][0];
    ensure!(container["livenessProbe"]["httpGet"]["scheme"] == "HTTPS");
    ensure!(container["livenessProbe"]["timeoutSeconds"] == 5);
    let readiness = json!(["/oom-agent", "status", "--ready"]);
    ensure!(container["readinessProbe"]["exec"]["command"] == readiness);
    ensure!(pod["imagePullSecrets"] == json!([{"name": "pull"}]));
    ensure!(pod["nodeSelector"] == json!({"kubernetes.io/os": "linux"}));

    // Who hangs is started again, also where nothing is served over TCP.
    let plain = json!(rendered(json!({}))?.daemons);
    let probe = &plain["spec"]["template"]["spec"]["containers"][0]["livenessProbe"];
    ensure!(probe["exec"]["command"] == readiness, "{probe}");
    let patience = |of: &str| probe[of].as_i64().unwrap_or(0);
    ensure!(
        patience("periodSeconds") * patience("failureThreshold") >= 300,
        "{probe}"
    );

    let insecure = rendered(json!({"listen": {"enabled": true, "insecure": true}}))?;
    takes(&insecure.args())?;
    let silent = rendered(json!({"kubernetesEvents": false}))?;
    ensure!(silent.roles.is_empty() && silent.accounts.len() == 1);
    ensure!(!silent.args().contains(&"--kubernetes".to_owned()));
    let own = rendered(json!({"serviceAccount": {"create": false, "name": "mine"}}))?;
    ensure!(own.accounts.is_empty() && own.bindings.is_empty());
    Ok(())
}

#[test]
fn values_that_make_no_sense_are_refused() -> Result<()> {
    for change in [
        json!({"imagee": {}}),
        json!({"image": {"pullPolicy": "Sometimes"}}),
        json!({"listen": {"enabled": true}}),
        json!({"listen": {"enabled": true, "tlsSecret": "tls"}}),
        json!({"listen": {"port": 0}}),
        json!({"listen": {"address": "everywhere"}}),
        json!({"maxUnavailable": "many"}),
        json!({"storePath": "relative"}),
    ] {
        ensure!(rendered(change.clone()).is_err(), "{change} is taken");
    }
    Ok(())
}
