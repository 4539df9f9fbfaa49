//! The streams: made, compared with what is wanted, changed on demand.
//!
//! Takes what is wanted; emits what differs. Refuses to change a stream that is there unless it is told to, and to
//! remove one at all.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    Context,
    stream::{Compression, Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};

use super::{
    link::{LinkError, asked, stream},
    subject::{EVENTS, HEARTBEATS, nodes_of},
};

/// Within this time the server itself takes no message twice. It keeps the ids of so long in memory.
const DUPLICATES: Duration = Duration::from_mins(2);

/// A node that has not been heard of for so long is no longer one of the fleet.
const FORGOTTEN: Duration = Duration::from_hours(24 * 30);

/// What the streams are to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the stream of events.
    pub stream: String,
    /// Servers that keep each message.
    pub replicas: usize,
    /// How long events are kept.
    pub max_age: Duration,
    /// Bytes of events that are kept; the oldest go first. `None`: no limit but the server's.
    pub max_bytes: Option<u64>,
    /// Within this time the server takes no message twice.
    pub duplicates: Duration,
}

impl Wanted {
    /// This stream as it is made if nothing is said.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            replicas: 1,
            max_age: Duration::from_hours(24 * 30),
            max_bytes: None,
            duplicates: DUPLICATES,
        }
    }

    fn configs(&self) -> [Config; 2] {
        let common = Config {
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            num_replicas: self.replicas,
            max_messages: -1,
            ..Config::default()
        };
        let events = Config {
            name: self.stream.clone(),
            description: Some("Events of oom-agent".to_owned()),
            subjects: vec![EVENTS.to_owned()],
            max_age: self.max_age,
            max_bytes: (self.max_bytes).map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX)),
            max_messages_per_subject: -1,
            duplicate_window: self.duplicates,
            deny_delete: true,
            compression: Some(Compression::S2),
            ..common.clone()
        };
        let nodes = Config {
            name: nodes_of(&self.stream),
            description: Some("Signs of life of oom-agent, the last of each node".to_owned()),
            subjects: vec![HEARTBEATS.to_owned()],
            max_age: FORGOTTEN,
            max_bytes: -1,
            max_messages_per_subject: 1,
            duplicate_window: DUPLICATES,
            ..common
        };
        [events, nodes]
    }
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was not there, and is now.
    Created,
    /// It is as it is wanted.
    Fits,
    /// It is another one; left alone.
    Differs(Vec<Difference>),
    /// It was another one; changed.
    Changed(Vec<Difference>),
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name, as NATS has it.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            found,
            wanted,
        } = self;
        write!(f, "{setting} is {found}, wanted: {wanted}")
    }
}

/// The stream of this name.
pub async fn open(context: &Context, name: &str) -> Result<Stream, LinkError> {
    stream(context, name).await
}

/// Makes both streams, or compares them; with `update`, changes them. Each by its name.
pub async fn init(
    context: &Context,
    wanted: &Wanted,
    update: bool,
) -> Result<Vec<(String, Made)>, LinkError> {
    let mut all = Vec::new();
    for config in wanted.configs() {
        let name = config.name.clone();
        all.push((name, make(context, config, update).await?));
    }
    Ok(all)
}

async fn make(context: &Context, wanted: Config, update: bool) -> Result<Made, LinkError> {
    let found = match stream(context, &wanted.name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(LinkError::NoStream(_)) => {
            let made = context.create_stream(wanted).await;
            return made
                .map(|_| Made::Created)
                .map_err(asked("cannot make the stream"));
        }
        Err(error) => return Err(error),
    };
    let differences = differences(&found, &wanted);
    if differences.is_empty() {
        return Ok(Made::Fits);
    }
    if !update {
        return Ok(Made::Differs(differences));
    }
    let changed = Config {
        subjects: wanted.subjects,
        num_replicas: wanted.num_replicas,
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        duplicate_window: wanted.duplicate_window,
        discard: wanted.discard,
        deny_delete: wanted.deny_delete,
        compression: wanted.compression,
        storage: wanted.storage,
        retention: wanted.retention,
        // What else somebody has set is theirs.
        ..found
    };
    let update = context.update_stream(changed).await;
    update.map_err(asked("cannot change the stream"))?;
    Ok(Made::Changed(differences))
}

/// What time it is for the server that leads this stream: Unix time in nanoseconds.
pub async fn clock(context: &Context, name: &str) -> Result<i128, LinkError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        ts: jiff::Timestamp,
    }
    let answer = context.request(format!("STREAM.INFO.{name}"), &()).await;
    let answer: Answer = answer.map_err(asked("the server does not tell its time"))?;
    Ok(answer.ts.as_nanosecond())
}

fn differences(found: &Config, wanted: &Config) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            all.push(Difference {
                setting,
                found,
                wanted,
            });
        }
    };
    macro_rules! compare {
        ($($field:ident as $name:literal),+ $(,)?) => {
            $(compare($name, format!("{:?}", found.$field), format!("{:?}", wanted.$field));)+
        };
    }
    compare!(
        subjects as "subjects",
        storage as "storage",
        retention as "retention",
        num_replicas as "num_replicas",
        max_age as "max_age",
        max_bytes as "max_bytes",
        max_messages as "max_msgs",
        max_messages_per_subject as "max_msgs_per_subject",
        duplicate_window as "duplicate_window",
        discard as "discard",
        deny_delete as "deny_delete",
    );
    // A server that does not compress leaves it out.
    let compression = |config: &Config| match &config.compression {
        Some(Compression::S2) => "S2",
        _ => "none",
    };
    compare(
        "compression",
        compression(found).to_owned(),
        compression(wanted).to_owned(),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let [events, nodes] = Wanted::new("OOM").configs();
        assert_eq!(differences(&events, &events), []);
        assert_eq!(nodes.name, "OOM_NODES");
        let wanted = Wanted {
            replicas: 3,
            max_bytes: Some(1 << 30),
            ..Wanted::new("OOM")
        };
        let told: Vec<_> = differences(&events, &wanted.configs()[0])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "num_replicas is 1, wanted: 3",
                "max_bytes is -1, wanted: 1073741824"
            ]
        );
    }
}
