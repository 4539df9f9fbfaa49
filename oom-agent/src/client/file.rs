//! The file of a store, asked without an agent.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::{ClientError, Page};
use crate::{
    event::Kind,
    question::Question,
    store::{DeadLetters, Filter, Order, QueryError, Reader, Stored, Tail},
};

/// An open store.
#[derive(Debug)]
pub struct File {
    reader: Reader,
    path: PathBuf,
}

impl File {
    pub(super) fn open(path: PathBuf) -> Result<Self, ClientError> {
        if is_hidden(&path) {
            return Err(ClientError::StoreForbidden { path });
        }
        match Reader::open(&path) {
            Ok(reader) => Ok(Self { reader, path }),
            Err(error @ QueryError::Missing(_)) => Err(ClientError::NoStore(error)),
            Err(source) => Err(ClientError::Store { path, source }),
        }
    }

    pub(super) fn page(
        &self,
        question: &Question,
        order: Order,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let after = after.map(str::parse).transpose()?;
        let filter = question.clone().filter();
        let page = self.reader.page(&filter, order, after, limit);
        let page = page.map_err(|error| self.failed(error))?;
        let events = page.events.into_iter().map(|stored| self.json(stored));
        Ok(Page {
            events: events.collect::<Result<_, _>>()?,
            next: page.next.map(|cursor| cursor.to_string()),
        })
    }

    pub(super) fn event(
        &self,
        kind: Option<Kind>,
        id: &str,
    ) -> Result<Option<Box<RawValue>>, ClientError> {
        let stored = self.reader.get(kind, id);
        let stored = stored.map_err(|error| self.failed(error))?;
        stored.map(|stored| self.json(stored)).transpose()
    }

    pub(super) fn dead_letters(
        &self,
        sink: Option<&str>,
        limit: u16,
    ) -> Result<DeadLetters, ClientError> {
        let letters = self.reader.dead_letters(sink, limit.into());
        letters.map_err(|error| self.failed(error))
    }

    pub(super) fn last_seq(&self) -> Result<i64, ClientError> {
        self.reader.last_seq().map_err(|error| self.failed(error))
    }

    pub(super) fn after_seq(
        &self,
        seq: i64,
        filter: &Filter,
        limit: usize,
    ) -> Result<Tail, ClientError> {
        let tail = self.reader.after_seq(seq, filter, limit);
        tail.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: QueryError) -> ClientError {
        ClientError::Store {
            path: self.path.clone(),
            source,
        }
    }

    pub(super) fn json(&self, stored: Stored) -> Result<Box<RawValue>, ClientError> {
        RawValue::from_string(stored.body).map_err(|source| ClientError::Malformed {
            to: self.path.display().to_string(),
            source,
        })
    }
}

/// A directory that we may not look into has no files as far as anybody tells.
fn is_hidden(path: &Path) -> bool {
    use std::io::ErrorKind::PermissionDenied;
    matches!(path.metadata(), Err(error) if error.kind() == PermissionDenied)
}
